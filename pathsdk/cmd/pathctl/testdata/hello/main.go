// Command hello is the smallest service: it greets.
package main

import "fmt"

func main() { fmt.Println(Greet("world")) }

// Greet greets a name.
func Greet(name string) string {
	if name == "" {
		name = "nobody"
	}
	return "hello, " + name
}
