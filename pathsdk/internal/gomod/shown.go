package gomod

import (
	"net/url"
	"strings"
)

// Shown is a GOPROXY as it may be shown: an element that may hold a credential
// is replaced, and so is one that is not understood.
func Shown(proxy string) string {
	var b strings.Builder
	for proxy != "" {
		i := strings.IndexAny(proxy, ",|")
		element, separator := proxy, ""
		if i >= 0 {
			element, separator = proxy[:i], proxy[i:i+1]
		}
		b.WriteString(shownElement(element) + separator)
		proxy = strings.TrimPrefix(proxy, element+separator)
	}
	return b.String()
}

func shownElement(e string) string {
	if e == "" || e == "direct" || e == "off" {
		return e
	}
	u, err := url.Parse(e)
	if err != nil || u.Scheme == "" || u.Opaque != "" || (u.Host == "" && u.Scheme != "file") || strings.Contains(u.Path, "@") {
		return "[redacted]"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}
