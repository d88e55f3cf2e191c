package main

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

// demoQueue are queue files that a real sendmail wrote, in the stories of
// TestDemoQueueIsReal in test/e2e.
//
//go:embed demo
var demoQueue embed.FS

func (a *app) demoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show the whole on bundled real queue files, in a temporary folder",
		Long:  "Show the whole on bundled real queue files, in a temporary folder: list, rules, dry run, sweep, restore.\nIt needs neither root nor a sendmail, and leaves nothing behind.",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.demo(cmd.Context()) },
	}
}

// step is one command of the demonstration, and what it shows.
type step struct {
	says string
	args []string
}

func (a *app) demo(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "backscatterd-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	queue := filepath.Join(dir, "mqueue")
	if err := unpack(queue); err != nil {
		return err
	}
	file := filepath.Join(dir, "demo.toml")
	text := fmt.Sprintf("[queue]\ndirectories = [%q]\n[store]\ndirectory = %q\n[audit]\nfile = %q\n[sweep]\nmax_share = 1.0\n",
		queue, filepath.Join(dir, "removed"), filepath.Join(dir, "audit.jsonl"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	for _, s := range []step{
		{"This is a mail queue with what gets stuck in one. It is what mailq shows, and more.", []string{"queue", "list"}},
		{"Where does it go to, and how long has it been waiting?", []string{"queue", "summary"}},
		{"Which rules would take what? This changes nothing.", []string{"sweep", "--dry-run"}},
		{"One message with all there is to know: a bounce of this server's own, and in it the spam that it returns.", []string{"queue", "show", ownBounce(queue)}},
		{"A condition can name any header, and look into a bounce.", []string{"queue", "list", "--where", `null_sender && returned.header("X-Spam-Flag") startsWith "YES"`}},
		{"A command line of qtool.pl, as a rule.", []string{"qtool", "--print-rule", "-e", `($msg{num_delivery_attempts} > 50) && ($msg{message}[0] =~ /Connection (timed out|refused)/)`, "/var/spool/removed", "/var/spool/mqueue"}},
		{"Now the same sweep in earnest: messages move to the removed store.", []string{"sweep", "--rule", "own-spam-bounces", "--rule", "stuck-bounces", "--rule", "spam-flagged", "--rule", "relay-denied"}},
		{"What is left:", []string{"queue", "list"}},
		{"One of them was only greylisted, its sender may be real? There is a way back.", []string{"queue", "restore", "--where", `status contains "Greylisted"`, "--yes"}},
		{"Everything that was done is in the audit log:", nil},
	} {
		if err := ctx.Err(); err != nil {
			return err
		}
		fmt.Fprintf(a.out, "\n%s\n", a.out.paint(bold, "# "+s.says))
		if s.args == nil {
			if err := a.printFile(filepath.Join(dir, "audit.jsonl")); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(a.out, "%s\n", a.out.paint(cyan, "$ backscatterd "+shellWords(s.args)))
		args := append([]string{"-c", file}, s.args...)
		if s.args[0] != "qtool" { // whose flags are its own
			args = append(args, "--color="+a.out.when())
		}
		if code := run(ctx, args, a.stdin, a.stdout, a.stderr); code != exitDone {
			return statusError{code, fmt.Errorf("the demonstration failed at: %s", shellWords(s.args))}
		}
	}
	return nil
}

// unpack writes the bundled queue with the modes that a queue has.
func unpack(queue string) error {
	if err := os.Mkdir(queue, 0o700); err != nil {
		return err
	}
	return fs.WalkDir(demoQueue, "demo", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := demoQueue.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(queue, d.Name()), data, 0o600)
	})
}

// ownBounce is the id of a bounce that returns spam.
func ownBounce(queue string) string {
	found, _ := filepath.Glob(filepath.Join(queue, "df*"))
	for _, path := range found {
		if data, err := os.ReadFile(path); err == nil && strings.Contains(string(data), "X-Spam-Flag: YES") {
			return strings.TrimPrefix(filepath.Base(path), "df")
		}
	}
	return ""
}

func (a *app) printFile(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	_, err = a.out.Write(data)
	return err
}

// shellWords writes arguments as one would type them.
func shellWords(args []string) string {
	words := make([]string, len(args))
	for i, a := range args {
		if strings.ContainsAny(a, " \t'\"$&|;<>()*?[]#~=%!{}\\") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		words[i] = a
	}
	return strings.Join(words, " ")
}
