package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/queuesweep"
)

// The scripts of test/script run the whole program, one behaviour a file. Each
// starts with a copy of the bundled queue, which a real sendmail wrote, in
// $WORK/mqueue, and a configuration for it in b.toml.

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"backscatterd": program})
}

// tellPeak in the environment has the program say at its end how much memory it
// has had. What the kernel tells of a child includes its parent's.
const tellPeak = "BACKSCATTERD_TEST_PEAK"

func program() {
	code := start()
	if os.Getenv(tellPeak) != "" {
		status, _ := os.ReadFile("/proc/self/status")
		_, hwm, _ := strings.Cut(string(status), "VmHWM:")
		line, _, _ := strings.Cut(hwm, "\n")
		fmt.Fprintf(os.Stderr, "VmHWM:%s\n", line)
	}
	os.Exit(code)
}

func TestScripts(t *testing.T) {
	open := openProgram(t)
	testscript.Run(t, testscript.Params{
		Dir: "../../test/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("OPEN", open)
			e.Setenv("QUEUE", filepath.Join(e.WorkDir, "mqueue"))
			return newSite(e.WorkDir)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"fields": checkFields, "values": checkValues, "lock": lockFile, "same": sameTree, "bytes": writeBytes,
		},
	})
}

// openProgram copies the program to where every user may run it, beside a folder
// that every user may write to.
func openProgram(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "backscatterd-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(filepath.Join(dir, "backscatterd"), os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{".": 0o755, "tmp": 0o777 | os.ModeSticky} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// newSite makes a queue and a configuration, unless the script has its own.
func newSite(work string) error {
	queue := filepath.Join(work, "mqueue")
	if _, err := os.Stat(queue); err != nil {
		if err := unpack(queue); err != nil {
			return err
		}
	}
	file := filepath.Join(work, "b.toml")
	own, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	text := "[queue]\ndirectories = [\"WORK/mqueue\"]\nsendmail = \"WORK/sendmail\"\n[store]\ndirectory = \"WORK/removed\"\n" +
		"[audit]\nfile = \"WORK/audit.jsonl\"\n"
	if !bytes.Contains(own, []byte("[sweep]")) {
		text += "[sweep]\nmax_share = 1.0\n"
	}
	return os.WriteFile(file, []byte(strings.ReplaceAll(text+string(own), "WORK", work)), 0o600)
}

// fields FILE name=type ...: each line of FILE is an object with just these
// fields, of these types. A name with a ? may be absent.
func checkFields(ts *testscript.TestScript, neg bool, args []string) {
	want := make(map[string]string)
	var optional []string
	for _, a := range args[1:] {
		name, typ, _ := strings.Cut(a, "=")
		if short, ok := strings.CutSuffix(name, "?"); ok {
			name = short
			optional = append(optional, name)
		}
		want[name] = typ
	}
	lines := objects(ts, args[0])
	if len(lines) == 0 {
		ts.Fatalf("%s has no lines", args[0])
	}
	for _, o := range lines {
		for name, v := range o {
			if typ := typeOf(v); !slices.Contains(strings.Split(want[name], "|"), typ) {
				ts.Fatalf("%s: %q is of type %s, want %q", args[0], name, typ, want[name])
			}
		}
		for name := range want {
			if _, ok := o[name]; !ok && !slices.Contains(optional, name) {
				ts.Fatalf("%s: there is no %q", args[0], name)
			}
		}
	}
}

func typeOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "bool"
	case string:
		return "string"
	case float64:
		if v == float64(int64(v)) {
			return "int"
		}
		return "number"
	case []any:
		return "array"
	}
	return "object"
}

// values FILE name ...: prints these fields of each line, sorted by line, as
// what cmp stdout compares with.
func checkValues(ts *testscript.TestScript, neg bool, args []string) {
	var rows []string
	for _, o := range objects(ts, args[0]) {
		var row []string
		for _, name := range args[1:] {
			v := any(o)
			for part := range strings.SplitSeq(name, ".") {
				if m, ok := v.(map[string]any); ok {
					v = m[part]
				}
			}
			text, err := queuesweep.JSONLine(v)
			ts.Check(err)
			row = append(row, strings.TrimSpace(string(text)))
		}
		rows = append(rows, strings.Join(row, " "))
	}
	slices.Sort(rows)
	fmt.Fprintln(ts.Stdout(), strings.Join(rows, "\n"))
}

func objects(ts *testscript.TestScript, file string) (out []map[string]any) {
	for line := range strings.Lines(ts.ReadFile(file)) {
		var o map[string]any
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			ts.Fatalf("%s: %v in %q", file, err, line)
		}
		out = append(out, o)
	}
	return out
}

// lock FILE: holds sendmail's lock on it until the script ends.
func lockFile(ts *testscript.TestScript, neg bool, args []string) {
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_RDWR, 0)
	ts.Check(err)
	ts.Defer(func() { f.Close() })
	ts.Check(unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB))
}

// same A B: two folders have the same files with the same bytes and modes.
func sameTree(ts *testscript.TestScript, neg bool, args []string) {
	a, b := tree(ts, args[0]), tree(ts, args[1])
	if (a == b) == neg {
		ts.Fatalf("%s has\n%s\n%s has\n%s", args[0], a, args[1], b)
	}
}

func tree(ts *testscript.TestScript, dir string) string {
	var b strings.Builder
	entries, err := os.ReadDir(ts.MkAbs(dir))
	ts.Check(err)
	for _, e := range entries {
		path := filepath.Join(ts.MkAbs(dir), e.Name())
		st, err := os.Lstat(path)
		ts.Check(err)
		data, err := os.ReadFile(path)
		ts.Check(err)
		fmt.Fprintf(&b, "%s %v %d bytes %x\n", e.Name(), st.Mode(), len(data), data)
	}
	return b.String()
}

var hexByte = regexp.MustCompile(`\\x[0-9a-f]{2}`)

// bytes FILE: turns each \xHH in it into that byte.
func writeBytes(ts *testscript.TestScript, neg bool, args []string) {
	path := ts.MkAbs(args[0])
	data, err := os.ReadFile(path)
	ts.Check(err)
	data = hexByte.ReplaceAllFunc(data, func(h []byte) []byte {
		var c byte
		fmt.Sscanf(string(h[2:]), "%02x", &c)
		return []byte{c}
	})
	ts.Check(os.WriteFile(path, data, 0o600))
}
