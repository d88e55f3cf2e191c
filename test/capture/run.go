package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	startTime = 30 * time.Second
	storyTime = 90 * time.Second // a message expires after some 10 s, and systems take their time to see it
)

// A stage runs one system, as the first process of namespaces of its own: when
// it ends, the kernel ends all that it has started.
type stage struct {
	system *system
	root   string
	shop   workshop
	world  *world
}

// run tells a system the stories and gives the notices that come of them. What
// did not come as expected is in the error, beside what did.
func (w workshop) run(ctx context.Context, s *system) ([]capture, error) {
	st := &stage{system: s, root: w.root(s), shop: w}
	if err := st.build(ctx); err != nil {
		return nil, err
	}
	all := s.stories(localUser)
	known := answers{}
	for _, t := range all {
		for _, r := range t.to {
			known[strings.ToLower(r.address)] = r
		}
	}
	st.world = newWorld(known)
	defer st.world.close(ctx)
	for addr, dsn := range map[string]bool{destAddr: true, oldAddr: false, fromAddr: true} {
		if err := st.world.listen(addr, dsn); err != nil {
			return nil, err
		}
	}
	if err := st.start(ctx); err != nil {
		return nil, err
	}
	var wrong []error
	told := []story{}
	for _, t := range all {
		if err := st.submit(ctx, t); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", t.name, err))
			continue
		}
		told = append(told, t)
	}
	captures, err := st.collect(ctx, told)
	return captures, errors.Join(append(wrong, err)...)
}

// build makes everything that the system finds around it.
func (st *stage) build(ctx context.Context) error {
	installed := filepath.Join(st.shop.layer(st.system), "installed")
	if err := st.shop.mount(st.system, "run", installed+":"+st.shop.base()); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(hostName)); err != nil {
		return err
	}
	for _, line := range []string{
		"link set lo up", "addr add " + hostAddr + "/32 dev lo", "route add local " + network + " dev lo",
	} {
		if out, err := exec.CommandContext(ctx, "ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", line, err, bytes.TrimSpace(out))
		}
	}
	files := map[string]string{
		"/etc/resolv.conf":   "nameserver 127.0.0.1\n",
		"/etc/hosts":         "127.0.0.1 localhost\n" + hostAddr + " " + hostName + "\n",
		"/etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n",
		"/etc/aliases":       "postmaster: root\nteam: " + localUser + ", carol@" + destDomain + "\n",
		"/etc/mailname":      hostName + "\n",
		"/etc/hostname":      hostName + "\n",
	}
	if err := writeFiles(st.root, files); err != nil {
		return err
	}
	if err := writeFiles(st.root, st.system.files); err != nil {
		return err
	}
	names, err := net.ListenPacket("udp4", "127.0.0.1:53")
	if err != nil {
		return err
	}
	go func() { _ = serveNames(names) }() // for the life of the process
	return st.keepLog()
}

// keepLog takes what the system says to syslog into a file of the workshop.
func (st *stage) keepLog() error {
	path := filepath.Join(st.root, "dev", "log")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	if err := os.Chmod(path, 0o666); err != nil {
		return err
	}
	out, err := os.Create(st.shop.log("syslog-" + st.system.name))
	if err != nil {
		return err
	}
	go func() { // for the life of the process
		buf := make([]byte, 8192)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			_, _ = fmt.Fprintf(out, "%s %s\n", time.Now().Format(time.TimeOnly), bytes.TrimSpace(buf[:n]))
		}
	}()
	return nil
}

// start sets the system up, starts its daemons and waits until it answers.
func (st *stage) start(ctx context.Context) error {
	setup := append([]string{"useradd -m " + localUser}, st.system.setup...)
	for _, line := range setup {
		if err := st.shop.logged("setup-"+st.system.name, st.shell(ctx, line)); err != nil {
			return fmt.Errorf("%s: %w", line, err)
		}
	}
	for i, line := range st.system.start {
		out, err := os.Create(st.shop.log(fmt.Sprintf("daemon-%s-%d", st.system.name, i)))
		if err != nil {
			return err
		}
		cmd := st.shell(ctx, line)
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			return err
		}
		go func() { _ = cmd.Wait() }() // a daemon's end shows in the stories
	}
	if st.system.submit != "" {
		return nil
	}
	for end := time.Now().Add(startTime); ; time.Sleep(100 * time.Millisecond) {
		err := greeting(hostAddr)
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s does not answer on port 25: %w", st.system.name, err)
		}
	}
}

func (st *stage) shell(ctx context.Context, line string) *exec.Cmd {
	return st.system.command(ctx, st.root, "/bin/sh", "-c", line)
}

// submit hands the message of a story to the system.
func (st *stage) submit(ctx context.Context, t story) error {
	s := st.system
	if s.submit == "" {
		return send(hostAddr, t, s.parameters(t), s.plain)
	}
	args := append(strings.Fields(s.submit), "-f", t.sender())
	for _, r := range t.to {
		args = append(args, r.address)
	}
	cmd := s.command(ctx, st.root, args...)
	cmd.Stdin = strings.NewReader(t.message())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", s.submit, err, bytes.TrimSpace(out))
	}
	return nil
}

// collect makes the system try its queue until all notices are there, or the
// time is over.
func (st *stage) collect(ctx context.Context, told []story) ([]capture, error) {
	for end := time.Now().Add(storyTime); ; time.Sleep(time.Second) {
		var all []capture
		var wrong []error
		for _, t := range told {
			found, err := claim(st.system.expectations(t), t, st.world.mail(t.sender()), st.system.apart)
			if err == nil && t.absent != "" {
				err = kept(found, t)
			}
			all = append(all, found...)
			if err != nil {
				wrong = append(wrong, err)
			}
		}
		if len(wrong) == 0 || time.Now().After(end) {
			return all, errors.Join(wrong...)
		}
		if st.system.prepare != nil {
			if err := st.system.prepare(st.root); err != nil {
				return all, err
			}
		}
		if st.system.retry != "" {
			_ = st.shell(ctx, st.system.retry).Run() // that a message could not be delivered is its status
		}
	}
}

// kept says which of the captures returns what it was asked not to.
func kept(all []capture, t story) error {
	for _, c := range all {
		if bytes.Contains(c.data, []byte(t.absent)) {
			return fmt.Errorf("%s: %q came back, and should not", c.name, t.absent)
		}
	}
	return nil
}
