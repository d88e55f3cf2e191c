package uring

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// ring makes a ring. A system that has none cannot run this test, and says so.
func ring(t *testing.T) *Ring {
	t.Helper()
	r, err := New()
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) {
		t.Skipf("this system has no io_uring of the kind that is used: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func folder(t *testing.T) (string, int) {
	t.Helper()
	dir := t.TempDir()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return dir, fd
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// What is not a whole small regular file is not told, and does not keep others
// of the batch from being read. Nothing waits for the writer of a fifo.
func TestOnlyWholeFiles(t *testing.T) {
	dir, fd := folder(t)
	r := ring(t)
	write(t, filepath.Join(dir, "small"), []byte("text"))
	write(t, filepath.Join(dir, "empty"), nil)
	write(t, filepath.Join(dir, "fits"), bytes.Repeat([]byte("x"), Size-1))
	write(t, filepath.Join(dir, "fills"), bytes.Repeat([]byte("x"), Size))
	write(t, filepath.Join(dir, "larger"), bytes.Repeat([]byte("x"), Size+1))
	if err := errors.Join(os.Symlink("small", filepath.Join(dir, "link")), os.Mkdir(filepath.Join(dir, "folder"), 0o700),
		unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600)); err != nil {
		t.Fatal(err)
	}
	names := []string{"missing", "small", "link", "folder", "fills", "larger", "empty", "fits"}
	want := map[string]int{"small": 4, "empty": 0, "fits": Size - 1}
	for range 3 { // the slots are used again
		r.Reset()
		for _, n := range names {
			if !r.Add(fd, []byte(n)) {
				t.Fatalf("%s was not taken", n)
			}
		}
		if read, err := r.Run(); err != nil || read != len(want) {
			t.Fatalf("%d were read, error %v", read, err)
		}
		for i, n := range names {
			data, ok := r.Data(i)
			if size, whole := want[n]; ok != whole || len(data) != size {
				t.Errorf("%s: %d bytes, told %v", n, len(data), ok)
			}
		}
	}
	// A fifo without a writer reads as one of no bytes, as it does by read(2).
	r.Reset()
	r.Add(fd, []byte("fifo"))
	if _, err := r.Run(); err != nil {
		t.Error(err)
	}
}

func TestAddRefuses(t *testing.T) {
	_, fd := folder(t)
	r := ring(t)
	if r.Add(fd, bytes.Repeat([]byte("n"), maxName)) {
		t.Error("a name without room for its end was taken")
	}
	for range Depth {
		if !r.Add(fd, []byte("missing")) {
			t.Fatal("a full ring before its time")
		}
	}
	if r.Add(fd, []byte("missing")) {
		t.Error("more than Depth were taken")
	}
	if read, err := r.Run(); read != 0 || err != nil {
		t.Errorf("%d read, %v", read, err)
	}
}

// Rings of several threads, over files that come, go, grow and are replaced:
// what is told was in the file at one moment.
func TestWhileFilesChange(t *testing.T) {
	dir, fd := folder(t)
	const files, rounds = 100, 200
	name := func(i int) string { return fmt.Sprintf("file%02d", i) }
	content := func(i, n int) []byte { return bytes.Repeat([]byte{byte('a' + i%26)}, n) }
	done := make(chan struct{})
	var writer, readers sync.WaitGroup
	writer.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			i := rand.IntN(files)
			path := filepath.Join(dir, name(i))
			if rand.IntN(3) == 0 {
				os.Remove(path)
				continue
			}
			os.WriteFile(path+".new", content(i, rand.IntN(2*Size)), 0o600)
			os.Rename(path+".new", path)
		}
	})
	for range 3 {
		r := ring(t)
		readers.Go(func() {
			for range rounds {
				r.Reset()
				var of []int
				for range 1 + rand.IntN(Depth) {
					i := rand.IntN(files)
					of = append(of, i)
					r.Add(fd, []byte(name(i)))
				}
				if _, err := r.Run(); err != nil {
					t.Error(err)
					return
				}
				for k, i := range of {
					if data, ok := r.Data(k); ok && !bytes.Equal(data, content(i, len(data))) {
						t.Errorf("%s has the content of another file", name(i))
					}
				}
			}
		})
	}
	readers.Wait()
	close(done)
	writer.Wait()
}
