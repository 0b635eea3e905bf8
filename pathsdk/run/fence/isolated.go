package fence

import "net"

// Isolated reports whether this process itself has no network but loopback, as
// in a container without network; a child can't have more.
func Isolated() bool {
	all, err := net.Interfaces()
	if err != nil || len(all) == 0 {
		return false
	}
	for _, i := range all {
		// A tunnel that is down is not in use, and can't be set up without privilege.
		if i.Flags&net.FlagLoopback == 0 && i.Flags&net.FlagUp != 0 {
			return false
		}
	}
	return true
}
