package gen

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// cliPage is the reference of every visible command.
func cliPage(root *cobra.Command) []byte {
	// Cobra adds it when a command is executed; here it is always there.
	root.InitDefaultCompletionCmd()
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n# %s\n\n", edit, root.Name())
	b.WriteString(prose(root))
	if f := flags(root.PersistentFlags()); f != "" {
		b.WriteString("\nFlags of every command:\n\n" + f)
	}
	b.WriteString("\n" + verbsTable(root))
	for _, c := range visible(root) {
		command(&b, c)
	}
	return b.Bytes()
}

func command(b *bytes.Buffer, c *cobra.Command) {
	fmt.Fprintf(b, "\n## %s\n\n%s", c.CommandPath(), prose(c))
	if c.Runnable() {
		fmt.Fprintf(b, "\n```\n%s\n```\n", strings.TrimSuffix(c.UseLine(), " [flags]"))
	}
	if c.Example != "" {
		fmt.Fprintf(b, "\n```sh\n%s\n```\n", strings.TrimRight(dedent(c.Example), "\n"))
	}
	if c.Name() == "completion" {
		return // its sub-commands are cobra's, one a shell
	}
	if f := flags(c.LocalFlags()); f != "" {
		b.WriteString("\n" + f)
	}
	for _, sub := range visible(c) {
		command(b, sub)
	}
}

func visible(c *cobra.Command) []*cobra.Command {
	var list []*cobra.Command
	for _, sub := range c.Commands() {
		if !sub.Hidden && sub.Name() != "help" && sub.Deprecated == "" {
			list = append(list, sub)
		}
	}
	return list
}

func verbsTable(root *cobra.Command) string {
	root.InitDefaultCompletionCmd()
	var b bytes.Buffer
	row(&b, "command", "does")
	rule(&b, 2)
	for _, c := range visible(root) {
		row(&b, "`"+c.CommandPath()+"`", c.Short)
	}
	return b.String()
}

func prose(c *cobra.Command) string {
	text := strings.TrimSpace(c.Long)
	if text == "" || c.Name() == "completion" {
		text = strings.TrimSpace(c.Short)
		if text != "" && !strings.HasSuffix(text, ".") {
			text += "."
		}
	}
	return text + "\n"
}

func flags(set *pflag.FlagSet) string {
	var b bytes.Buffer
	set.VisitAll(func(f *pflag.Flag) {
		// Cobra adds help when a command is executed.
		if f.Hidden || f.Name == "help" {
			return
		}
		if b.Len() == 0 {
			row(&b, "flag", "kind", "default", "what it is")
			rule(&b, 4)
		}
		name := "`--" + f.Name + "`"
		if f.Shorthand != "" {
			name = "`-" + f.Shorthand + "`, " + name
		}
		def := "empty"
		if f.DefValue != "" && f.DefValue != "[]" {
			def = "`" + f.DefValue + "`"
		}
		row(&b, name, f.Value.Type(), def, f.Usage)
	})
	return b.String()
}

// dedent removes the indentation that cobra's examples have.
func dedent(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], "  ")
	}
	return strings.Join(lines, "\n")
}
