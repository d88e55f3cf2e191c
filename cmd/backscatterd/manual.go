package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/backscatterd/backscatterd/config"
)

// manualCommand writes the manual pages and the completions, for packages.
func (a *app) manualCommand() *cobra.Command {
	return &cobra.Command{
		Use: "manual folder", Hidden: true, Args: cobra.ExactArgs(1),
		Short: "Write manual pages and completions into a folder",
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			pages := map[string]func(io.Writer) error{
				"man5/backscatterd.toml.5": func(w io.Writer) error { return configPage(w) },
				"bash/backscatterd":        func(w io.Writer) error { return root.GenBashCompletionV2(w, true) },
				"zsh/_backscatterd":        root.GenZshCompletion,
				"fish/backscatterd.fish":   func(w io.Writer) error { return root.GenFishCompletion(w, true) },
			}
			eachCommand(root, func(c *cobra.Command) {
				pages["man1/"+pageName(c)+".1"] = func(w io.Writer) error { return commandPage(w, c) }
			})
			for name, write := range pages {
				if err := writePage(filepath.Join(args[0], name), write); err != nil {
					return failed(err)
				}
			}
			return nil
		},
	}
}

func writePage(path string, write func(io.Writer) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := write(f); err != nil {
		return err
	}
	return f.Close()
}

// eachCommand visits a command and those below that people use.
func eachCommand(c *cobra.Command, do func(*cobra.Command)) {
	do(c)
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" {
			eachCommand(sub, do)
		}
	}
}

func pageName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// commandPage writes a page of section 1 in the man macros of roff.
func commandPage(out io.Writer, c *cobra.Command) error {
	w := bufio.NewWriter(out)
	fmt.Fprintf(w, ".TH %s 1 \"\" \"backscatterd %s\"\n.SH NAME\n%s \\- %s\n", strings.ToUpper(pageName(c)), roff(version), roff(pageName(c)), roff(c.Short))
	fmt.Fprintf(w, ".SH SYNOPSIS\n.B %s\n.SH DESCRIPTION\n", roff(c.UseLine()))
	text := c.Long
	if text == "" {
		text = c.Short + "."
	}
	paragraphs(w, text)
	flags := func(title string, set *pflag.FlagSet) {
		if !set.HasAvailableFlags() {
			return
		}
		fmt.Fprintf(w, ".SH %s\n", title)
		set.VisitAll(func(f *pflag.Flag) {
			if f.Hidden {
				return
			}
			kind, usage := pflag.UnquoteUsage(f)
			name := "--" + f.Name
			if f.Shorthand != "" {
				name = "-" + f.Shorthand + ", " + name
			}
			fmt.Fprintf(w, ".TP\n.B %s\n%s\n", roff(strings.TrimSpace(name+" "+kind)), roff(usage))
		})
	}
	flags("OPTIONS", c.NonInheritedFlags())
	flags("OPTIONS OF ALL COMMANDS", c.InheritedFlags())
	if c.Example != "" {
		fmt.Fprintf(w, ".SH EXAMPLES\n.nf\n%s\n.fi\n", roff(c.Example))
	}
	if c.HasAvailableSubCommands() {
		fmt.Fprint(w, ".SH COMMANDS\n")
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() && sub.Name() != "help" {
				fmt.Fprintf(w, ".TP\n.BR %s (1)\n%s\n", roff(pageName(sub)), roff(sub.Short))
			}
		}
	}
	fmt.Fprint(w, ".SH EXIT STATUS\n0 done; 1 something of it failed, the rest was done; 2 wrong use or configuration, nothing was done.\n.SH SEE ALSO\n")
	if c.HasParent() {
		fmt.Fprintf(w, ".BR %s (1),\n", roff(pageName(c.Parent())))
	}
	fmt.Fprint(w, ".BR backscatterd.toml (5)\n")
	return w.Flush()
}

// configPage is the page of the configuration: the file that documents each key.
func configPage(out io.Writer) error {
	w := bufio.NewWriter(out)
	fmt.Fprintf(w, ".TH BACKSCATTERD.TOML 5 \"\" \"backscatterd %s\"\n.SH NAME\nbackscatterd.toml \\- configuration of backscatterd\n.SH SYNOPSIS\n.B %s\n.SH DESCRIPTION\n", roff(version), roff(config.DefaultPath))
	paragraphs(w, "The daemon and all commands read this file. It is TOML, and strict: what is unknown or makes no sense is an error, "+
		"told with line and column. A file that has any [[rule]] replaces all of the built-in rules.\n\n"+
		"\"backscatterd config check\" tells whether a file is right, \"backscatterd config show\" what is in force and why. "+
		"The daemon reads it again at SIGHUP, and keeps the old one where the new one is wrong.\n\n"+
		"The following is the whole file with every key and its default.")
	fmt.Fprintf(w, ".SH KEYS\n.nf\n%s.fi\n.SH SEE ALSO\n.BR backscatterd (1)\n", roff(string(config.DefaultFile())))
	return w.Flush()
}

func paragraphs(w io.Writer, text string) {
	for i, p := range strings.Split(text, "\n\n") {
		if i > 0 {
			fmt.Fprintln(w, ".PP")
		}
		fmt.Fprintln(w, roff(p))
	}
}

// roff takes their meaning from the characters that have one in roff: a
// backslash, a hyphen that is to be copied, and . or ' at the start of a line.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}
