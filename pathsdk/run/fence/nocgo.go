//go:build !cgo

package fence

const withCgo = false
