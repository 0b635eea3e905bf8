// Command hostile is a service that looks harmless. Its tests are not: see
// package hunt.
package main

import "example.com/hostile/lib"

func main() { println(lib.Answer()) }
