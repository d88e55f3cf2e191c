package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/config"
	"github.com/backscatterd/backscatterd/queuesweep"
)

// daemon is a serve that runs as a process of its own.
type daemon struct {
	*site
	cmd *exec.Cmd
	log chan string
}

func (s *site) serve() *daemon {
	s.t.Helper()
	d := &daemon{s, s.child("serve"), make(chan string, 10_000)}
	stderr, err := d.cmd.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { d.cmd.Process.Kill() })
	go func() {
		defer close(d.log)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			d.log <- lines.Text()
		}
		io.Copy(io.Discard, stderr)
	}()
	return d
}

// says waits for a line of the log.
func (d *daemon) says(what string) {
	d.t.Helper()
	deadline := time.After(time.Minute)
	var seen []string
	for {
		select {
		case line, open := <-d.log:
			if !open {
				d.t.Fatalf("the log ended without %q:\n%s", what, strings.Join(seen, "\n"))
			}
			if strings.Contains(line, what) {
				return
			}
			seen = append(seen, line)
		case <-deadline:
			d.t.Fatalf("no %q in the log:\n%s", what, strings.Join(seen, "\n"))
		}
	}
}

func (d *daemon) signal(sig unix.Signal) {
	d.t.Helper()
	if err := d.cmd.Process.Signal(sig); err != nil {
		d.t.Fatal(err)
	}
}

// ends waits for the daemon to end with a status.
func (d *daemon) ends(status int) {
	d.t.Helper()
	for range d.log { // Wait closes the pipe
	}
	err := d.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || d.cmd.ProcessState.ExitCode() != status {
		d.t.Errorf("the daemon ended with %v, want exit status %d", err, status)
	}
}

// The life of a daemon: it sweeps, reads its configuration again, keeps the old
// one where the new one is wrong in whatever way, opens the audit log anew, and
// ends when it is told to.
func TestServe(t *testing.T) {
	const every = "[sweep]\nmax_share = 1.0\nschedule = \"@every 1s\"\n"
	rule := func(name, when string) string { return "[[rule]]\nname = '" + name + "'\nwhen = '" + when + "'\n" }
	s := newTestSite(t, t.TempDir(), every+rule("null", "null_sender"))
	first := read(t, s.config)
	d := s.serve()
	d.says("msg=scheduled job=\"sweep with 1 rule\"")
	d.says("msg=scheduled job=\"purge of the removed store\"")
	d.says("done=2")

	audit := filepath.Join(s.dir, "audit.jsonl")
	if err := os.Rename(audit, audit+".1"); err != nil {
		t.Fatal(err)
	}
	for name, wrong := range map[string]string{
		"unknown key":     first + "[nonsense]\nx = 1\n",
		"condition":       strings.ReplaceAll(first, "null_sender", "nul_sender"),
		"audit log":       strings.ReplaceAll(first, "audit.jsonl", "missing/dir/audit.jsonl"),
		"bounce.template": strings.ReplaceAll(first, "[sweep]", "[bounce]\ntemplate = \"/nonexistent\"\n[sweep]"),
	} {
		t.Log(name)
		s.write(s.config, wrong)
		d.signal(unix.SIGHUP)
		d.says("the new configuration is wrong, the old one stays")
		d.says("run ended") // and goes on
	}
	if _, err := os.Stat(audit); err != nil {
		t.Errorf("the audit log was not opened anew: %v", err)
	}

	s.write(s.config, first+rule("mail", "attempts > 50")+"schedule = \"@every 2s\"\n")
	d.signal(unix.SIGHUP)
	d.says("the configuration was read again")
	d.says("msg=scheduled job=\"sweep with 1 rule\" schedule=\"@every 2s\"")
	d.says("rule=mail action=move result=done")
	d.signal(unix.SIGTERM)
	d.says("stopping: waiting for what is under way")
	d.ends(exitDone)
	if n := s.once(8); n != 3 {
		t.Errorf("%d messages were removed, want 3", n)
	}
	if !strings.Contains(read(t, audit), `"rule":"mail"`) || !strings.Contains(read(t, audit+".1"), `"rule":"null"`) {
		t.Error("the audit logs do not have what was done")
	}
}

// A configuration that is wrong at the start is an error, not a daemon.
func TestServeWrongConfiguration(t *testing.T) {
	s := newTestSite(t, t.TempDir(), "[sweep]\nschedule = \"often\"\n")
	s.want(exitUsage, "often", "serve")
	s.write(s.config, "")
	if err := os.Remove(s.config); err != nil {
		t.Fatal(err)
	}
	s.want(exitUsage, "no such file", "serve")
}

// What is scheduled: rules that share a schedule in one sweep, in their order,
// others in their own, and the purge.
func TestJobs(t *testing.T) {
	cfg, err := config.Parse("b.toml", []byte(`
[store]
purge = "15 4 * * *"
[sweep]
schedule = "@hourly"
[[rule]]
name = "a"
when = 'true'
[[rule]]
name = "b"
when = 'true'
schedule = "@daily"
[[rule]]
name = "c"
when = 'true'
`))
	if err != nil {
		t.Fatal(err)
	}
	all, err := jobs(cfg, queuesweep.New(queuesweep.Options{}), nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, j := range all {
		got = append(got, j.Name+": "+j.Spec)
	}
	want := "sweep with 2 rules: @hourly\nsweep with 1 rule: @daily\npurge of the removed store: 15 4 * * *"
	if text := strings.Join(got, "\n"); text != want {
		t.Errorf("scheduled are\n%s\nwant\n%s", text, want)
	}
}
