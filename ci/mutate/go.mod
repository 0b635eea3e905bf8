module github.com/pavedpaths/paths/ci/mutate

go 1.26.0
