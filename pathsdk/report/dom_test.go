package report_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

func parse(t testing.TB, page []byte) *html.Node {
	t.Helper()
	doc, err := html.Parse(bytes.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// find lists the elements of one name, in any case; "*" is every element.
func find(n *html.Node, tag string) []*html.Node {
	var all []*html.Node
	for c := range n.Descendants() {
		if c.Type == html.ElementNode && (tag == "*" || strings.EqualFold(c.Data, tag)) {
			all = append(all, c)
		}
	}
	return all
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// content is the text below a node as it stands there.
func content(n *html.Node) string {
	var b strings.Builder
	for c := range n.Descendants() {
		if c.Type == html.TextNode {
			b.WriteString(c.Data)
		}
	}
	return b.String()
}

// visible is the text of a page, without script and style, with single blanks.
func visible(doc *html.Node) string {
	var b strings.Builder
	for c := range doc.Descendants() {
		if c.Type == html.TextNode && !slices.Contains([]string{"script", "style"}, c.Parent.Data) {
			b.WriteString(c.Data)
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// rows are the rows in the body of a table.
func rows(doc *html.Node, id string) []*html.Node {
	for _, t := range find(doc, "table") {
		if attr(t, "id") == id {
			return find(find(t, "tbody")[0], "tr")
		}
	}
	return nil
}

// outline is what a page is made of, one thing a line.
func outline(doc *html.Node) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	flat := func(n *html.Node) string { return strings.Join(strings.Fields(content(n)), " ") }
	for _, n := range find(doc, "*") {
		switch n.Data {
		case "header", "nav", "main", "footer":
			line("%s", n.Data)
		case "section":
			line("\nsection %s", attr(n, "id"))
		case "h1", "h2", "h3":
			line("%s %s", n.Data, flat(n))
		case "input":
			line("search %s", attr(n, "id"))
		case "table":
			var heads []string
			for _, h := range find(find(n, "thead")[0], "th") {
				if attr(h, "scope") != "col" {
					line("a column without scope")
				}
				heads = append(heads, flat(h))
			}
			line("table %s: %s", attr(n, "id"), strings.Join(heads, " | "))
			for i, r := range rows(doc, attr(n, "id")) {
				if i == 12 {
					line("  …")
					break
				}
				var cells []string
				for c := range r.ChildNodes() {
					cells = append(cells, flat(c))
				}
				line("  %s", strings.Join(cells, " | "))
			}
		case "g":
			switch class := strings.Fields(attr(n, "class")); class[0] {
			case "band":
				line("band %s", class[1])
			case "node":
				line("node %s %s", attr(n, "data-node"), strings.Join(class[1:], " "))
			}
		case "path":
			if from := attr(n, "data-from"); from != "" {
				line("edge %s -> %s (%s)", from, attr(n, "data-to"), attr(n, "class"))
			}
		}
	}
	return b.String()
}
