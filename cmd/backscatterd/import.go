package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/backscatterd/backscatterd/config"
	"github.com/backscatterd/backscatterd/queuesweep/qtool/script"
)

func (a *app) importCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "import FILE ...",
		Short: "Turn the qtool.pl lines of scripts and crontabs into rules and schedules",
		Long: "Turn the qtool.pl lines of shell scripts and crontabs into a configuration with the rules and schedules that they\n" +
			"amount to, in dry run. A FILE - is the standard input. Nothing in them is run. Give a crontab together with the\n" +
			"scripts that it runs: it says when.\n\n" +
			"What cannot be taken is told with its place and the reason, and the exit status is 1; the rest is written.",
		Example: "  backscatterd import /etc/cron.d/clean-queue /usr/local/sbin/clean-queue\n  crontab -l | backscatterd import -o new.toml -\n  backscatterd config check -c new.toml",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("name the scripts and crontabs that call qtool.pl, or - for the standard input (grep -rl qtool /etc/cron* finds them)")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.importFiles(cmd.Context(), names, output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "write to this new `file` instead of the standard output")
	return cmd
}

func (a *app) importFiles(ctx context.Context, names []string, output string) error {
	var files []script.File
	for _, name := range names {
		f, err := a.scriptFile(ctx, name)
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	calls, problems := script.Read(files...)
	text, taken, more := script.Configuration(calls)
	missed := 0
	for _, p := range append(problems, more...) {
		fmt.Fprintln(a.stderr, cleanLines(p.String()))
		if !p.Note {
			missed++
		}
	}
	if taken == 0 {
		if missed == 0 {
			return failed(errors.New("nothing here calls qtool.pl; where a crontab runs a script that does, name both"))
		}
		return failed(fmt.Errorf("nothing was written: %s not taken, for the reasons above", plural(missed, "call")))
	}
	cfg, err := config.Parse("import", []byte(text))
	if err != nil {
		return failed(fmt.Errorf("nothing was written, since the result would not be a right configuration; put the rules in by hand, with backscatterd qtool --print-rule: %w", err))
	}
	if err := a.writeNew(output, text); err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "%s of qtool.pl taken, as %s", plural(taken, "call"), plural(len(cfg.Rules), "rule"))
	if missed > 0 {
		fmt.Fprintf(a.stderr, "; %d not taken", missed)
	}
	if output == "" && a.out.width > 0 {
		fmt.Fprint(a.stderr, "; -o FILE writes it into a file")
	}
	if fmt.Fprintln(a.stderr); missed > 0 {
		return statusError{code: exitFailed}
	}
	return nil
}

// scriptFile reads what is named, up to a little more than can be used.
func (a *app) scriptFile(ctx context.Context, name string) (script.File, error) {
	in, shown := a.input(ctx), "-"
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return script.File{}, fmt.Errorf("%w (name a script or a crontab that may be read)", err)
		}
		defer f.Close()
		if st, err := f.Stat(); err == nil && st.IsDir() {
			return script.File{}, fmt.Errorf("%s is a folder: name the scripts in it (grep -rl qtool %s finds them)", name, name)
		}
		in, shown = f, name
	}
	data, err := io.ReadAll(io.LimitReader(in, script.MaxFile+1))
	if err != nil {
		return script.File{}, fmt.Errorf("%s: %w", shown, err)
	}
	return script.File{Name: shown, Data: data}, nil
}

// writeNew writes to a file that is not yet there, or to the results.
func (a *app) writeNew(name, text string) error {
	if name == "" {
		fmt.Fprint(a.out, text)
		return nil
	}
	f, err := os.OpenFile(filepath.Clean(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already: name a new file, and put the rules over by hand", name)
	}
	if err != nil {
		return fmt.Errorf("%w (name a file in a folder that you may write to)", err)
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return failed(errors.Join(err, os.Remove(name)))
	}
	return nil
}
