// Package keyring keeps the signing keys in a folder, one file a key, and the
// other secrets of an installation beside them.
//
// Files are readable by their owner only, or they are refused: whoever reads a
// key can make bounces that pass for answers to our mail. They are written
// whole and synced, or not at all. Several keys are valid at once: the newest
// signs, a retired one goes on checking what it signed until that expires. The
// same folder may be copied to every host that sends for the same domains.
//
// A Folder may be used concurrently, by several processes too.
package keyring

import (
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

var (
	// ErrNoKey: the folder has no key that signs.
	ErrNoKey = errors.New("no signing key; make one with: backscatterd key new")
	// ErrUnknownKey: no key of the folder has this id.
	ErrUnknownKey = errors.New("no such key; see: backscatterd key list")
	// ErrRetired: the key was retired before.
	ErrRetired = errors.New("already retired")
	// ErrLastKey: mail would go out unsigned.
	ErrLastKey = errors.New("it is the only one that signs; make another first with: backscatterd key new")
)

// Key is one signing key.
type Key struct {
	ID      string    // eight letters and digits, unlike that of any other host's key
	Number  int       // the digit that stands for it in BATV tags
	Created time.Time // UTC, whole seconds
	Retired time.Time // zero while it may sign
	secret  []byte
}

// Secret returns 32 bytes for one purpose, named by the caller. Those of two
// purposes tell nothing of each other.
func (k Key) Secret(purpose string) []byte {
	mac := hmac.New(sha256.New, k.secret)
	mac.Write([]byte("backscatterd " + purpose))
	return mac.Sum(nil)
}

// Expired reports whether nothing that the key signed can still be valid.
func (k Key) Expired(now time.Time, lifetime time.Duration) bool {
	return !k.Retired.IsZero() && now.After(k.Retired.Add(lifetime))
}

// Folder is a keys folder.
type Folder struct{ dir string }

// Open names a folder. It is read when it is used, and need not exist before
// the first key is made.
func Open(dir string) *Folder { return &Folder{dir} }

// New makes a key, which signs from now on, and the folder if need be.
func (f *Folder) New(now time.Time) (Key, error) {
	unlock, err := f.lock()
	if err != nil {
		return Key{}, fmt.Errorf("new key: %w", err)
	}
	defer unlock()
	keys, err := f.List()
	if err != nil {
		return Key{}, fmt.Errorf("new key: %w", err)
	}
	number, err := unusedNumber(keys)
	if err != nil {
		return Key{}, fmt.Errorf("new key: %w", err)
	}
	k := Key{
		ID:      strings.ToLower(rand.Text()[:8]),
		Number:  number,
		Created: now.UTC().Truncate(time.Second),
		secret:  make([]byte, 32),
	}
	rand.Read(k.secret)
	// A clock that was set back must not make the old key the newest.
	if len(keys) > 0 && !k.Created.After(keys[0].Created) {
		k.Created = keys[0].Created.Add(time.Second)
	}
	if err := f.write(k.ID+keySuffix, k.encode(), false); err != nil {
		return Key{}, fmt.Errorf("new key %s: %w", k.ID, err)
	}
	return k, nil
}

// unusedNumber picks any free digit; when there is none, that of the oldest key,
// whose tags are the likeliest to have expired. Picked at random, so that two
// hosts with keys of their own seldom take each other's tags for forged.
func unusedNumber(keys []Key) (int, error) {
	free := []int{}
	for n := range 10 {
		if !slices.ContainsFunc(keys, func(k Key) bool { return k.Number == n }) {
			free = append(free, n)
		}
	}
	if len(free) == 0 {
		return keys[len(keys)-1].Number, nil
	}
	i, err := rand.Int(rand.Reader, big.NewInt(int64(len(free))))
	if err != nil {
		return 0, err
	}
	return free[i.Int64()], nil
}

// List returns the keys, newest first. Where some cannot be read, it returns the
// others with an error that names each and says what to do. A folder that does
// not exist is an empty one.
func (f *Folder) List() ([]Key, error) {
	if err := f.checkFolder(); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, fmt.Errorf("keys folder: %w", err)
	}
	var keys []Key
	var problems []error
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), keySuffix)
		if !ok || strings.HasPrefix(id, ".") {
			continue
		}
		k, err := f.readKey(id)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b Key) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID))
	})
	return keys, errors.Join(problems...)
}

func (f *Folder) readKey(id string) (Key, error) {
	if !isID(id) {
		return Key{}, fmt.Errorf("%s: the name of a key file is letters and digits and %s; rename or remove it",
			filepath.Join(f.dir, id+keySuffix), keySuffix)
	}
	content, err := f.read(id + keySuffix)
	if err != nil {
		return Key{}, err
	}
	k, err := decode(content)
	if err != nil {
		return Key{}, fmt.Errorf("%s: %w; restore it from a copy, or remove it", filepath.Join(f.dir, id+keySuffix), err)
	}
	k.ID = id
	return k, nil
}

// Usable returns the keys to sign and check with at this time: the one that
// signs first, then those whose signatures can still be valid. The lifetime is
// the longest of any signature. Any key that cannot be read is an error, for its
// signatures would be taken for those of somebody else.
func (f *Folder) Usable(now time.Time, lifetime time.Duration) ([]Key, error) {
	keys, err := f.List()
	if err != nil {
		return nil, err
	}
	keys = slices.DeleteFunc(keys, func(k Key) bool { return k.Expired(now, lifetime) })
	i := slices.IndexFunc(keys, func(k Key) bool { return k.Retired.IsZero() })
	if i < 0 {
		return nil, fmt.Errorf("%s: %w", f.dir, ErrNoKey)
	}
	signing := keys[i]
	return slices.Insert(slices.Delete(keys, i, i+1), 0, signing), nil
}

// Retire ends the signing of a key. It goes on checking until what it signed
// has expired; to distrust it at once, remove its file.
func (f *Folder) Retire(id string, now time.Time) (Key, error) {
	fail := func(err error) (Key, error) { return Key{}, fmt.Errorf("retire key %q: %w", id, err) }
	unlock, err := f.lock()
	if err != nil {
		return fail(err)
	}
	defer unlock()
	keys, err := f.List()
	i := slices.IndexFunc(keys, func(k Key) bool { return k.ID == id })
	if i < 0 {
		return fail(cmp.Or(err, ErrUnknownKey))
	}
	if !keys[i].Retired.IsZero() {
		return fail(fmt.Errorf("%w on %s", ErrRetired, keys[i].Retired.Format(time.DateOnly)))
	}
	if !slices.ContainsFunc(keys, func(k Key) bool { return k.ID != id && k.Retired.IsZero() }) {
		return fail(ErrLastKey)
	}
	keys[i].Retired = now.UTC().Truncate(time.Second)
	if err := f.write(id+keySuffix, keys[i].encode(), true); err != nil {
		return fail(err)
	}
	return keys[i], nil
}

// Secret returns the 32 bytes kept under a name, which it makes when they are
// asked for the first time. Unlike keys they do not change.
func (f *Folder) Secret(name string) ([]byte, error) {
	if !isID(name) {
		return nil, fmt.Errorf("secret %q: want letters and digits", name)
	}
	secret, err := f.readSecret(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return secret, err
	}
	unlock, err := f.lock()
	if err != nil {
		return nil, fmt.Errorf("secret %s: %w", name, err)
	}
	defer unlock()
	// Another process may have been first.
	if secret, err = f.readSecret(name); !errors.Is(err, fs.ErrNotExist) {
		return secret, err
	}
	secret = make([]byte, 32)
	rand.Read(secret)
	if err := f.write(name+secretSuffix, encodeSecret(secret), false); err != nil {
		return nil, fmt.Errorf("secret %s: %w", name, err)
	}
	return secret, nil
}

func (f *Folder) readSecret(name string) ([]byte, error) {
	if err := f.checkFolder(); err != nil {
		return nil, err
	}
	content, err := f.read(name + secretSuffix)
	if err != nil {
		return nil, err
	}
	secret, err := decodeSecret(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; restore it from a copy, or remove it", filepath.Join(f.dir, name+secretSuffix), err)
	}
	return secret, nil
}
