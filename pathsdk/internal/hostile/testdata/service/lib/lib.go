// Package lib is what the tests would like to have built into the image in
// another form.
package lib

// Answer returns 42 in an honest build.
func Answer() int { return 42 }
