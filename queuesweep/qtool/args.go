package qtool

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Usage is the synopsis of the command.
const Usage = `backscatterd qtool [options] TARGET SOURCE ...     move messages to the folder TARGET
backscatterd qtool [options] -d|-b SOURCE ...      delete or bounce them

A SOURCE is a queue folder, a control file, or a queue id in a folder.

  -b            bounce: sendmail returns them to their senders
  -C FILE       sendmail.cf to read the queue folders from
  -d            delete; wins over -b
  -e EXPR       only messages for which this Perl expression holds
  -Q            quarantined messages (hf files) instead of the others
  -s SECONDS    only messages whose body file is older than that
  -c, --config FILE   configuration of backscatterd
  --dry-run     say what would be done, touch nothing
  --json        one JSON object for each message
  --print-rule  print the rule that the command line stands for, do nothing
`

// Action is what a command line asks to do with the messages.
type Action string

// The actions of qtool.pl, under their names in rules.
const (
	Move   Action = "move"   // to Invocation.Target
	Delete Action = "delete" // -d
	Expire Action = "expire" // -b: sendmail itself bounces the message
)

// Invocation is a command line of qtool.pl's, with the options that are ours.
type Invocation struct {
	Action      Action
	CF          string        // -C: path of sendmail.cf; "" if not given
	Expr        string        // -e: a Perl expression; "" if not given
	OlderThan   time.Duration // -s: least age of the df; 0 if not given
	Quarantined bool          // -Q: hf files instead of qf files
	Target      string        // folder to move to; "" unless Action is Move
	Sources     []string      // folders, control files, or ids in a folder

	Config    string // -c, --config: our configuration; "" if not given
	PrintRule bool   // then Target and Sources may be missing
	DryRun    bool
	JSON      bool
	Help      bool // -h, --help: print Usage; nothing else is checked
}

// UsageError is a command line that cannot be taken.
type UsageError struct{ Msg string }

func (e *UsageError) Error() string { return e.Msg }

func usagef(format string, args ...any) error {
	return &UsageError{fmt.Sprintf(format, args...) + "; see backscatterd qtool --help"}
}

// ParseArgs reads the arguments behind "qtool" as qtool.pl does, with Perl's
// Getopt::Std and 'bC:de:Qs:': letters may stand together (-dQ), a value follows
// its letter at once or as the next argument, options end at -- or at the first
// argument that is none, and of an option given twice the last counts. Where
// qtool.pl warns of an unknown option and goes on, this is an error, and so is
// an option behind the folders, which qtool.pl takes for a source.
//
// The expression is translated too. Errors are *[UsageError], or a
// *[SyntaxError] in the expression.
func ParseArgs(args []string) (Invocation, error) {
	inv := Invocation{Action: Move}
	rest, err := inv.options(args)
	if err != nil || inv.Help {
		return inv, err
	}
	if err := inv.operands(rest); err != nil {
		return inv, err
	}
	_, err = inv.Condition()
	return inv, err
}

// options reads options up to the first operand and returns what follows.
func (inv *Invocation) options(args []string) (operands []string, err error) {
	seen := map[byte]bool{}
	ended := false
	for !ended && len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			ended = true
		case strings.HasPrefix(arg, "--"):
			args, err = inv.longOption(arg, args)
		default:
			args, err = inv.cluster(arg[1:], args, seen)
		}
		if err != nil {
			return nil, err
		}
	}
	inv.Quarantined = seen['Q']
	inv.Help = inv.Help || seen['h']
	switch {
	case seen['d']:
		inv.Action = Delete
	case seen['b']:
		inv.Action = Expire
	}
	for i, arg := range args {
		if !ended && len(arg) > 1 && arg[0] == '-' {
			return nil, usagef("%q stands behind %q: options come before the folders (write -- before a folder's name that begins with -)", arg, args[max(i-1, 0)])
		}
	}
	return args, nil
}

// cluster reads the letters of one argument. The first that has a value ends it.
func (inv *Invocation) cluster(letters string, args []string, seen map[byte]bool) (rest []string, err error) {
	for ; letters != ""; letters = letters[1:] {
		switch letter := letters[0]; letter {
		case 'b', 'd', 'Q', 'h':
			seen[letter] = true
		case 'C', 'c', 'e', 's':
			value := letters[1:]
			if value == "" {
				if len(args) == 0 {
					return nil, usagef("option -%c needs a value", letter)
				}
				value, args = args[0], args[1:]
			}
			return args, inv.set(letter, value)
		default:
			unknown, _ := utf8.DecodeRuneInString(letters)
			return nil, usagef("unknown option -%s", strconv.QuoteRune(unknown))
		}
	}
	return args, nil
}

// operands takes the folders. A rule can be printed without any.
func (inv *Invocation) operands(args []string) error {
	if inv.Action == Move && len(args) > 0 {
		inv.Target, args = args[0], args[1:]
	}
	inv.Sources = args
	if slices.Contains(args, "") || inv.Action == Move && inv.Target == "" && len(args) > 0 {
		return usagef("a folder's name is empty")
	}
	switch {
	case inv.PrintRule:
		return nil
	case inv.Action == Move && inv.Target == "":
		return usagef("name the folder to move to, and what to move")
	case len(args) == 0 && inv.Action == Move:
		return usagef("name what to move to %q: a queue folder, a control file or an id", inv.Target)
	case len(args) == 0:
		return usagef("name the messages: a queue folder, a control file or an id")
	}
	return nil
}

// set takes the value of an option.
func (inv *Invocation) set(letter byte, value string) error {
	if value == "" && letter != 'e' {
		return usagef("option -%c needs a value, and this one is empty", letter)
	}
	switch letter {
	case 'C':
		inv.CF = value
	case 'c':
		inv.Config = value
	case 'e':
		if strings.TrimSpace(value) == "" {
			return usagef("option -e needs an expression, and this one is empty: for qtool.pl it never holds")
		}
		inv.Expr = value
	case 's':
		const century = 100 * 365 * 24 * 3600
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			return usagef("option -s needs a whole number of seconds, not %q", value)
		}
		if err != nil || n > century {
			return usagef("option -s %s is more than a century", value)
		}
		inv.OlderThan = time.Duration(n) * time.Second
	}
	return nil
}

// longOption takes one of ours.
func (inv *Invocation) longOption(arg string, args []string) ([]string, error) {
	name, value, hasValue := strings.Cut(arg, "=")
	if name == "--config" {
		if !hasValue {
			if len(args) == 0 {
				return nil, usagef("option --config needs a value")
			}
			value, args = args[0], args[1:]
		}
		return args, inv.set('c', value)
	}
	flags := map[string]*bool{"--print-rule": &inv.PrintRule, "--dry-run": &inv.DryRun, "--json": &inv.JSON, "--help": &inv.Help}
	flag, ok := flags[name]
	switch {
	case !ok:
		return nil, usagef("unknown option %q", name)
	case hasValue:
		return nil, usagef("option %s takes no value", name)
	}
	*flag = true
	return args, nil
}
