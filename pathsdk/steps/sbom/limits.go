package sbom

import "time"

// limits bound what one image may cost: its layers are a producer's bytes.
// Sizes are in bytes.
type limits struct {
	config   int64 // an image's configuration
	layers   int   // layers of an image
	entries  int   // archive entries of an image, all layers together
	names    int64 // the text of all names and link targets together
	path     int   // one name
	unpacked int64 // content of all files of all layers together
	file     int64 // content of one file that is examined
	text     int64 // a package database or manifest in a text format
	database int64 // a package database in a binary format
	symbols  int64 // one symbol or string table of an executable
	visits   int   // nodes visited by whiteouts
	steps    int64 // path elements followed, links included
	packages int   // packages of an image
	notes    int   // notes about what could not be examined
	platform int   // platforms of an index
	input    int64 // go.mod, go.sum and the list of modules
	// cataloger bounds the time of one cataloger on one image.
	cataloger time.Duration
}

func defaultLimits() limits {
	return limits{
		config:    4 << 20,
		layers:    512,
		entries:   500_000,
		names:     128 << 20,
		path:      4096,
		unpacked:  8 << 30,
		file:      1 << 30,
		text:      32 << 20,
		database:  256 << 20,
		symbols:   64 << 20,
		visits:    20_000_000,
		steps:     100_000_000,
		packages:  100_000,
		notes:     100,
		platform:  64,
		input:     16 << 20,
		cataloger: time.Minute,
	}
}
