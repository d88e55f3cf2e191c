package keyring

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const lifetime = 14 * 24 * time.Hour

var day0 = time.Date(2026, 3, 1, 12, 0, 0, 500, time.UTC)

func makeKey(t *testing.T, f *Folder, now time.Time) Key {
	t.Helper()
	k, err := f.New(now)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func ids(keys []Key) string {
	var s []string
	for _, k := range keys {
		s = append(s, k.ID)
	}
	return strings.Join(s, " ")
}

// A year of keys: made, replaced, retired, and gone when the last of what they
// signed has expired.
func TestTheLifeOfAKey(t *testing.T) {
	f := Open(filepath.Join(t.TempDir(), "etc", "keys"))
	if _, err := f.Usable(day0, lifetime); !errors.Is(err, ErrNoKey) {
		t.Fatalf("before the first key: %v; want %v", err, ErrNoKey)
	}
	old := makeKey(t, f, day0)
	if old.Created != day0.Truncate(time.Second) {
		t.Errorf("created %v", old.Created)
	}
	if _, err := f.Retire(old.ID, day0); !errors.Is(err, ErrLastKey) {
		t.Errorf("retiring the only key: %v; want %v", err, ErrLastKey)
	}
	new := makeKey(t, f, day0.AddDate(0, 6, 0))
	if old.ID == new.ID || old.Number == new.Number || bytes.Equal(old.Secret("x"), new.Secret("x")) {
		t.Errorf("two keys alike: %+v and %+v", old, new)
	}
	usable := func(now time.Time) string {
		t.Helper()
		keys, err := f.Usable(now, lifetime)
		if err != nil {
			t.Fatal(err)
		}
		return ids(keys)
	}
	if got, want := usable(day0.AddDate(1, 0, 0)), new.ID+" "+old.ID; got != want {
		t.Errorf("two valid at once: %s; want %s", got, want)
	}
	retirement := day0.AddDate(1, 0, 0).Truncate(time.Second)
	if _, err := f.Retire(old.ID, retirement); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Retire(old.ID, retirement); !errors.Is(err, ErrRetired) {
		t.Errorf("retiring twice: %v; want %v", err, ErrRetired)
	}
	if _, err := f.Retire(new.ID, retirement); !errors.Is(err, ErrLastKey) {
		t.Errorf("retiring the last that signs: %v; want %v", err, ErrLastKey)
	}
	if _, err := f.Retire("nosuch", retirement); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("retiring an unknown key: %v; want %v", err, ErrUnknownKey)
	}
	if got, want := usable(retirement.Add(lifetime)), new.ID+" "+old.ID; got != want {
		t.Errorf("while its signatures live: %s; want %s", got, want)
	}
	if got := usable(retirement.Add(lifetime + time.Second)); got != new.ID {
		t.Errorf("after its last signature: %s; want %s", got, new.ID)
	}
	keys, err := f.List()
	if err != nil || ids(keys) != new.ID+" "+old.ID || keys[1].Retired != retirement {
		t.Errorf("List() = %+v, %v", keys, err)
	}
	if !bytes.Equal(keys[1].Secret("x"), old.Secret("x")) || keys[1].Number != old.Number {
		t.Error("retiring changed the key itself")
	}
}

func TestRetiringTheNewestMakesTheOneBeforeSignAgain(t *testing.T) {
	f := Open(t.TempDir())
	first, second := makeKey(t, f, day0), makeKey(t, f, day0.AddDate(0, 1, 0))
	if _, err := f.Retire(second.ID, day0.AddDate(0, 1, 1)); err != nil {
		t.Fatal(err)
	}
	keys, err := f.Usable(day0.AddDate(0, 1, 2), lifetime)
	if want := first.ID + " " + second.ID; err != nil || ids(keys) != want {
		t.Errorf("Usable = %s, %v; want %s", ids(keys), err, want)
	}
}

func TestANewKeySignsEvenIfTheClockWasSetBack(t *testing.T) {
	f := Open(t.TempDir())
	makeKey(t, f, day0)
	new := makeKey(t, f, day0.AddDate(-1, 0, 0))
	keys, err := f.Usable(day0, lifetime)
	if err != nil || keys[0].ID != new.ID {
		t.Errorf("Usable = %s, %v; want %s first", ids(keys), err, new.ID)
	}
}

func TestNumbersAreAllUsedBeforeOneComesAgain(t *testing.T) {
	f := Open(t.TempDir())
	seen := map[int]bool{}
	first := makeKey(t, f, day0)
	seen[first.Number] = true
	for i := range 9 {
		seen[makeKey(t, f, day0.AddDate(0, 0, i+1)).Number] = true
	}
	if len(seen) != 10 {
		t.Errorf("ten keys have the numbers %v", seen)
	}
	if k := makeKey(t, f, day0.AddDate(0, 0, 20)); k.Number != first.Number {
		t.Errorf("the eleventh key has number %d; want that of the oldest, %d", k.Number, first.Number)
	}
}

func TestSecretsOfTwoPurposesDiffer(t *testing.T) {
	k := makeKey(t, Open(t.TempDir()), day0)
	a, b := k.Secret("token"), k.Secret("batv")
	if len(a) != 32 || len(b) != 32 || bytes.Equal(a, b) || !bytes.Equal(a, k.Secret("token")) {
		t.Errorf("%x and %x", a, b)
	}
}

func TestFilesAreForTheirOwnerOnly(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	dir := filepath.Join(t.TempDir(), "keys")
	f := Open(dir)
	k := makeKey(t, f, day0)
	makeKey(t, f, day0)
	if _, err := f.Retire(k.ID, day0); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Secret("ledger"); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 3 {
		t.Fatalf("want two keys and a secret, nothing left over: %v, %v", entries, err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s has mode %v, %v", e.Name(), info.Mode(), err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder has mode %v, %v", info.Mode(), err)
	}
}

func TestAKeyMadeByRootBelongsToTheFoldersOwner(t *testing.T) {
	dir, uid, gid := t.TempDir(), 65534, 65533
	if os.Geteuid() != 0 {
		// Only root can give files away; anybody else keeps them.
		uid, gid = os.Geteuid(), os.Getegid()
	}
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	k := makeKey(t, Open(dir), day0)
	info, err := os.Stat(filepath.Join(dir, k.ID+keySuffix))
	if err != nil {
		t.Fatal(err)
	}
	if st := info.Sys().(*syscall.Stat_t); int(st.Uid) != uid || int(st.Gid) != gid {
		t.Errorf("belongs to %d:%d; want %d:%d", st.Uid, st.Gid, uid, gid)
	}
}

func TestWhatIsRefusedAndWhatTheErrorSaysToDo(t *testing.T) {
	good := "backscatterd key 1\nnumber 3\ncreated 2026-01-01T00:00:00Z\nsecret MDEyMzQ1Njc4OWFiY2RlZg==\n"
	for name, c := range map[string]struct {
		file, content string
		mode          os.FileMode
		want          string
	}{
		"group may read":   {"abc.key", good, 0o640, "chmod 600"},
		"others may read":  {"abc.key", good, 0o604, "chmod 600"},
		"empty":            {"abc.key", "", 0o600, "not a key file"},
		"version to come":  {"abc.key", strings.Replace(good, "key 1", "key 2", 1), 0o600, "not a key file"},
		"cut short":        {"abc.key", good[:50], 0o600, "restore it from a copy"},
		"short secret":     {"abc.key", strings.Replace(good, "MDEyMzQ1Njc4OWFiY2RlZg==", "MDEy", 1), 0o600, "secret of 16 bytes"},
		"number":           {"abc.key", strings.Replace(good, "number 3", "number 10", 1), 0o600, `line "number"`},
		"no base64":        {"abc.key", strings.Replace(good, "MDE", "!!!", 1), 0o600, `line "secret"`},
		"unknown line":     {"abc.key", good + "colour red\n", 0o600, `line "colour"`},
		"name is no id":    {"a b.key", good, 0o600, "rename or remove"},
		"a giant":          {"abc.key", good + strings.Repeat("x", 5000), 0o600, "longer than"},
		"stricter is fine": {"abc.key", good, 0o400, ""},
		"not a key":        {"README", "hello", 0o644, ""},
		"an editor's copy": {".abc.key", "junk", 0o644, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			sound := makeKey(t, Open(dir), day0)
			path := filepath.Join(dir, c.file)
			if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			keys, err := Open(dir).List()
			if !strings.Contains(ids(keys), sound.ID) {
				t.Errorf("the sound key is not listed: %v", keys)
			}
			_, usableErr := Open(dir).Usable(day0, lifetime)
			if c.want == "" {
				if err != nil || usableErr != nil {
					t.Errorf("%v, %v", err, usableErr)
				}
				return
			}
			for _, err := range []error{err, usableErr} {
				if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
					t.Errorf("got %v; want one that names %s and says %q", err, path, c.want)
				}
				if err != nil && strings.Contains(err.Error(), "MDEy") {
					t.Errorf("the error tells the secret: %v", err)
				}
			}
		})
	}
}

func TestAFolderThatOthersMayWriteIntoIsRefused(t *testing.T) {
	dir := t.TempDir()
	f := Open(dir)
	makeKey(t, f, day0)
	if err := os.Chmod(dir, 0o770); err != nil {
		t.Fatal(err)
	}
	_, listErr := f.List()
	_, newErr := f.New(day0)
	_, secretErr := f.Secret("ledger")
	for _, err := range []error{listErr, newErr, secretErr} {
		if err == nil || !strings.Contains(err.Error(), "chmod go-w") {
			t.Errorf("got %v; want a hint at chmod go-w", err)
		}
	}
}

func TestANamedPipeDoesNotHoldUsUp(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "abc.key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir).List(); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("got %v", err)
	}
}

func TestSecretIsMadeOnceAndKept(t *testing.T) {
	dir := t.TempDir()
	secrets := make([][]byte, 8)
	var wg sync.WaitGroup
	for i := range secrets {
		wg.Go(func() {
			s, err := Open(dir).Secret("ledger")
			if err != nil {
				t.Error(err)
			}
			secrets[i] = s
		})
	}
	wg.Wait()
	for _, s := range secrets {
		if len(s) != 32 || !bytes.Equal(s, secrets[0]) {
			t.Fatalf("two callers got different secrets: %x", secrets)
		}
	}
	other, err := Open(dir).Secret("other")
	if err != nil || bytes.Equal(other, secrets[0]) {
		t.Errorf("another name: %x, %v", other, err)
	}
	path := filepath.Join(dir, "ledger.secret")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir).Secret("ledger"); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("mode 0644: %v", err)
	}
	if err := os.WriteFile(path, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir).Secret("ledger"); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("damaged: %v; must not be replaced in silence", err)
	}
	if _, err := Open(dir).Secret("../x"); err == nil {
		t.Error("a name that leaves the folder was taken")
	}
}

func TestKeysMadeAtOnceAreAllKept(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := Open(dir).New(day0); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	keys, err := Open(dir).List()
	if err != nil || len(keys) != 8 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	numbers := map[int]bool{}
	for _, k := range keys {
		numbers[k.Number] = true
	}
	if len(numbers) != 8 {
		t.Errorf("numbers collide: %v", numbers)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("backscatterd key 1\nnumber 3\ncreated 2026-01-01T00:00:00Z\nretired 2026-02-01T00:00:00Z\nsecret MDEyMzQ1Njc4OWFiY2RlZg==\n"))
	f.Add([]byte("backscatterd key 1\n\n"))
	f.Add([]byte("backscatterd secret 1\nsecret MDEy\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		decodeSecret(content)
		k, err := decode(content)
		if err != nil {
			return
		}
		again, err := decode(k.encode())
		if err != nil || !again.Created.Equal(k.Created.Truncate(time.Second)) || !bytes.Equal(again.secret, k.secret) || again.Number != k.Number {
			t.Fatalf("%q: read as %+v, written and read again %+v, %v", content, k, again, err)
		}
	})
}
