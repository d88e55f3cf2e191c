package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// Folder is one open queue folder. Its files lie flat in it, or in qf, df and
// xf below it, each only where that folder exists. Safe for concurrent use.
type Folder struct {
	// Path is the folder's path as it was configured.
	Path string
	// Name is how the d line of a control file names the folder: its path
	// relative to the root of the queues, "." for the root itself.
	Name string
	// Root is the root of the queues it belongs to.
	Root string
	// CF is the sendmail.cf that names the folder, "" if a person did.
	CF string

	spool      *Spool
	top        *dir
	qf, df, xf *dir
	fileMode   uint32
	trusted    uint32
	together   bool // of the store, where a df lies with its qf whatever the d line says
}

// Place tells where a queue folder is and how it is known to sendmail.
type Place struct {
	Path string
	Root string // QueueDirectory, less a wildcard
	// FileMode is sendmail's QueueFileMode: a control file that is writable
	// for the group is bogus unless it says otherwise. 0 means that it is not
	// known; then the folder's own mode decides.
	FileMode uint32
	// CF is the sendmail.cf that names the folder, "" if a person did.
	CF string
	// Trusted is the number of sendmail's TrustedUser; root is trusted always.
	Trusted uint32
}

// Spool is a set of open queue folders. Safe for concurrent use.
type Spool struct {
	disk    Disk
	folders []*Folder
}

// Open opens queue folders once; from then on they are used through their
// descriptors. A folder that cannot be opened does not keep the others from
// being used: the error names each of those, and the Spool is nil only where
// none is left.
func Open(disk Disk, places []Place) (*Spool, error) {
	s := &Spool{disk: disk}
	var problems []error
	for _, p := range places {
		f, err := s.open(p)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		s.folders = append(s.folders, f)
	}
	if len(s.folders) == 0 {
		if len(problems) == 0 {
			problems = append(problems, errors.New("no queue folder is known: name one with --queue or queue.directories"))
		}
		return nil, errors.Join(problems...)
	}
	return s, errors.Join(problems...)
}

func (s *Spool) open(p Place) (*Folder, error) {
	top, err := openPath(s.disk, p.Path)
	if err != nil {
		return nil, fmt.Errorf("queue %s: %w%s", p.Path, err, hint(err))
	}
	f := &Folder{Path: p.Path, Name: relativeName(p.Root, p.Path), Root: p.Root, CF: p.CF, spool: s, top: top, qf: top, df: top, xf: top, fileMode: p.FileMode, trusted: p.Trusted}
	if p.FileMode == 0 {
		f.fileMode = top.mode & unix.S_IWGRP // a client queue, which its group shares
	}
	for name, at := range map[string]**dir{"qf": &f.qf, "df": &f.df, "xf": &f.xf} {
		if *at, err = top.part(name); err != nil {
			break
		}
	}
	if err == nil {
		err = f.checkClosed()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("queue %s: %w%s", p.Path, err, hint(err)), f.close())
	}
	return f, nil
}

// part opens a folder named qf, df or xf, or a link to one, as sendmail takes
// both (chkqdir). Without it the files lie in d itself. Where others can write
// to d a link is refused: it may lead into somebody else's queue.
func (d *dir) part(name string) (*dir, error) {
	sub, err := d.sub(name)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		var fd int
		fd, err = d.disk.Openat(d.fd, name, openDirFlags&^unix.O_NOFOLLOW, 0)
		sub, err = newDir(d.disk, fd, d.path+"/"+name, err)
		if err == nil && d.mode&(unix.S_IWGRP|unix.S_IWOTH) != 0 {
			return nil, errors.Join(fmt.Errorf("%s is a link, and others than its owner may write to %s", sub.path, d.path), sub.close())
		}
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return d, nil
	}
	return sub, err
}

// checkClosed refuses a queue that anybody can put files into, or where anybody
// can put another folder in the place of qf or df.
func (f *Folder) checkClosed() error {
	for _, d := range []*dir{f.top, f.qf, f.df} {
		if d.mode&unix.S_IWOTH != 0 {
			return fmt.Errorf("everybody may write to %s (mode %04o): what lies there cannot be trusted (chmod o-w, then look for files that are not sendmail's)", d.path, d.mode&0o7777)
		}
	}
	return nil
}

// trusts tells whether a control file's owner may have written it: root, the
// user that runs us or sendmail (whose folder it is), sendmail's trusted user;
// in a client queue, which its group shares, any member of the group.
func (f *Folder) trusts(st unix.Stat_t) bool {
	switch st.Uid {
	case 0, uint32(os.Geteuid()), f.qf.uid, f.trusted:
		return true
	}
	shared := f.qf.mode&f.fileMode&unix.S_IWGRP != 0 && st.Gid == f.qf.gid
	return f.together || shared
}

// relativeName is qp_name of sendmail's queue paths.
func relativeName(root, path string) string {
	if rel, err := filepath.Rel(root, path); err == nil {
		return rel
	}
	return filepath.Base(path)
}

// Folders are the open folders, in the order they were named.
func (s *Spool) Folders() []*Folder { return s.folders }

// Folder finds an open folder by its path.
func (s *Spool) Folder(path string) *Folder {
	for _, f := range s.folders {
		if f.Path == path {
			return f
		}
	}
	return nil
}

// Find looks for a message by its id in all folders, as qf, hf or Qf.
func (s *Spool) Find(id string) (Entry, error) {
	if !validID([]byte(id)) {
		return Entry{}, fmt.Errorf("%q is no queue id: letters and digits only, as queue list shows them", id)
	}
	for _, f := range s.folders {
		for _, k := range []Kind{Active, Held, Lost} {
			e := Entry{Folder: f, Kind: k, ID: id}
			if ok, err := f.qf.exists(e.name()); err != nil {
				return Entry{}, err
			} else if ok {
				return e, nil
			}
		}
	}
	return Entry{}, fmt.Errorf("message %s: %w", id, ErrGone)
}

// dataFolder finds the folder that holds a message's df: the control file's
// own, or the one that its d line names.
func (f *Folder) dataFolder(name string) (*dir, error) {
	if name == "" || name == f.Name || f.together {
		return f.df, nil
	}
	// readqf() compares it with the names of its folders, letter by letter.
	if !filepath.IsLocal(name) || filepath.Clean(name) != name {
		return nil, fmt.Errorf("its body is said to lie in folder %q, which is no name of a queue folder: sendmail would call it bogus", name)
	}
	named := []string{filepath.Join(f.Root, name), filepath.Join(filepath.Dir(f.Path), name)}
	for _, other := range f.spool.folders {
		if slices.Contains(named, other.Path) {
			return other.df, nil
		}
	}
	return nil, fmt.Errorf("its body lies in folder %q, which is none of the queue folders that are known", name)
}

// Close closes all folders.
func (s *Spool) Close() error {
	var errs []error
	for _, f := range s.folders {
		errs = append(errs, f.close())
	}
	return errors.Join(errs...)
}

func (f *Folder) close() error {
	var errs []error
	closed := map[*dir]bool{nil: true}
	for _, d := range []*dir{f.top, f.qf, f.df, f.xf} {
		if !closed[d] {
			closed[d] = true
			errs = append(errs, d.close())
		}
	}
	return errors.Join(errs...)
}

// hint says what an administrator can do about a common error.
func hint(err error) string {
	switch {
	case errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM):
		return " (run as root, or as the user that owns the queue)"
	case errors.Is(err, unix.ENOENT):
		return " (is the path right? sendmail.cf tells it in O QueueDirectory)"
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return " (make room on that file system; nothing was lost)"
	case errors.Is(err, unix.EROFS):
		return " (the file system is mounted read-only)"
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		return " (too many open files: raise the limit with ulimit -n)"
	}
	return ""
}
