//go:build linux && amd64

package crash

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backscatterd/backscatterd/test/crash/device"
)

// imageSize is small, since each loss of power needs an image.
const imageSize = 16 << 20

// pieceSize is what a device writes whole or not at all.
const pieceSize = 4096

// TestPowerLostOnDevice runs each action on an ext4 of the
// kernel's, on a device that records what is written to it, and then goes through
// what a loss of power may leave of the device: the file system is mounted from
// that, and the program started. Each message is whole in one place, and what the
// program has said to be done is. The queue that bounces are handed to lies on the
// device too: each that was to be sent is, and whole.
func TestPowerLostOnDevice(t *testing.T) {
	var ways, tried int
	for n, a := range actions {
		for _, syncing := range []bool{true, false} {
			if !syncing && !full() {
				continue // fewer states, of the same kind
			}
			name := a.name
			if syncing {
				name += " and others sync"
			}
			t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
				all, some := losePower(t, a, name, syncing, uint64(n))
				ways, tried = ways+all, tried+some
			})
		}
	}
	t.Logf("%sall actions: %d ways to lose power, %d tried", form(), ways, tried)
}

// losePower goes through the losses of one action. While it is recorded, others
// may have everything written that there is: so the disk has also what lies between
// two fsyncs of the program.
func losePower(t *testing.T, a action, name string, syncing bool, seed uint64) (all, tried int) {
	b := newBench(t, a)
	recorded := b.record(syncing)
	events := device.Split(recorded, pieceSize)
	losses := device.Losses(events, 8, seed)
	all = len(losses)
	if !full() {
		losses = sample(losses, lossesOf(a), seed)
	}
	began, seen, writes := time.Now(), make(map[place]int), 0
	for _, e := range recorded {
		if !e.Flush {
			writes++
		}
	}
	for _, l := range losses {
		places, err := b.lose(l, events)
		if err != nil {
			t.Errorf("%s, power lost %v (of %d events): %v", name, l, len(events), err)
			continue
		}
		for _, p := range places {
			seen[p]++
		}
	}
	t.Logf("%s%s: %d writes and %d flushes came to the devices; %d ways to lose power, %d tried in %.1f s; messages found after the next start: %d queue, %d held, %d store, %d gone",
		form(), name, writes, len(recorded)-writes, all, len(losses), time.Since(began).Seconds(), seen[atQueue], seen[atHeld], seen[atStore], seen[gone])
	return all, len(losses)
}

// lossesOf is how many losses of an action the short form takes.
func lossesOf(a action) int {
	if a.sends || a.name == "purge" {
		return 4 // they take a second or more each
	}
	return 20
}

// bench is an action on two file systems of their own, on devices that record.
type bench struct {
	*ground
	*run
	action   action
	recorder *device.Recorder
	before   [][]byte        // the devices, before the action
	copies   []string        // files for what a loss leaves of them
	notices  [letters][]byte // what senders are told where no power is lost
}

func newBench(t *testing.T, a action) *bench {
	t.Helper()
	// Shared, so that what is mounted below it, and unmounted, is so for the lab's
	// sendmail too.
	shared := mountTmpfs(t)
	if err := unix.Mount("", shared, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	near, far := filepath.Join(shared, "near"), filepath.Join(shared, "far")
	for _, at := range []string{near, far} {
		if err := os.Mkdir(at, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	memory, err := os.MkdirTemp("/dev/shm", "backscatterd-device-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(memory) })
	b := &bench{ground: groundOn(t, near, far), action: a}
	var images [][]byte
	for i := range 2 {
		file := filepath.Join(memory, fmt.Sprint(i))
		b.must(os.WriteFile(file, make([]byte, imageSize), 0o600))
		// Everything is initialised now: what the kernel does later, in the
		// background, would be recorded.
		out, err := exec.Command("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", file).CombinedOutput()
		if err != nil {
			t.Fatalf("mkfs.ext4 (of e2fsprogs): %v\n%s", err, out)
		}
		image, err := os.ReadFile(file)
		b.must(err)
		images, b.copies = append(images, image), append(b.copies, file)
	}
	b.recorder = device.NewRecorder(t, images...)
	return b
}

func (b *bench) must(err error) { b.ground.t.Helper(); b.ground.must(err) }

func (b *bench) mount(files ...string) error {
	for i, at := range []string{b.near, b.far} {
		if err := device.Mount(files[i], at); err != nil {
			if i > 0 {
				err = errors.Join(err, unix.Unmount(b.near, 0))
			}
			return err
		}
	}
	return nil
}

func (b *bench) unmount() error {
	var errs []error
	for _, at := range []string{b.near, b.far} {
		if err := unix.Unmount(at, 0); err != nil {
			errs = append(errs, fmt.Errorf("unmount %s: %w", at, err), unix.Unmount(at, unix.MNT_DETACH))
		}
	}
	return errors.Join(errs...)
}

// record runs the action and returns what came to the devices meanwhile.
func (b *bench) record(syncing bool) []device.Event {
	b.ground.t.Helper()
	b.must(b.mount(b.recorder.Path(0), b.recorder.Path(1)))
	events, err := b.recorded(syncing)
	b.must(errors.Join(err, b.unmount()))
	return events
}

func (b *bench) recorded(syncing bool) (events []device.Event, err error) {
	b.makeFolders()
	if b.run, err = b.newRun(b.action, "r", 1); err != nil {
		return nil, err
	}
	if err := b.sync(); err != nil {
		return nil, err
	}
	b.before = b.recorder.Begin()
	ended, synced := make(chan struct{}), make(chan error, 1)
	go func() {
		var err error
		for syncing && err == nil {
			select {
			case <-ended:
				synced <- nil
				return
			default:
				err = b.sync()
			}
		}
		synced <- err
	}()
	err = b.act()
	close(ended)
	if err = errors.Join(err, <-synced); err != nil {
		return nil, err
	}
	events = b.recorder.Events()
	at, err := b.look()
	if err == nil && at != [letters]place{b.action.goal, b.action.goal, b.action.goal} {
		err = fmt.Errorf("without a loss of power the messages are %v", at)
	}
	if err == nil && b.action.sends {
		err = b.notice(at)
	}
	return events, err
}

// sync has all written that there is.
func (b *bench) sync() error {
	for _, at := range []string{b.near, b.far} {
		fd, err := unix.Open(at, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err == nil {
			err = errors.Join(unix.Syncfs(fd), unix.Close(fd))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// lose starts the program on what a loss of power leaves.
func (b *bench) lose(l device.Loss, events []device.Event) (at [letters]place, err error) {
	for i, file := range b.copies {
		// A new file: on the old one there may be a loop device still, where another
		// process has made a namespace of mounts meanwhile.
		if err := os.Remove(file); err != nil {
			return at, err
		}
		if err := os.WriteFile(file, l.Image(b.before[i], i, events), 0o600); err != nil {
			return at, err
		}
	}
	if err := b.mount(b.copies...); err != nil {
		return at, err
	}
	at, err = b.started()
	if err == nil && l.After == len(events) && at != [letters]place{b.action.goal, b.action.goal, b.action.goal} {
		err = fmt.Errorf("the program had said that it was done, and the messages are %v", at)
	}
	return at, errors.Join(err, b.unmount())
}
