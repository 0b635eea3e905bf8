//go:build cgo

package fence

// withCgo says that threads may exist which Go does not know. The library that
// reaches them reads /proc, and would wait forever for one that shows other
// process ids.
const withCgo = true
