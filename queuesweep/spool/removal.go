package spool

import "errors"

// removal deletes a message: the control file first, which is the commit, then
// the rest. sendmail itself goes the other way round, so that a crash leaves it
// a message without a body.
//
// The commit gives the control file a name of ours, which goes last. So after a
// crash that name tells that the message was to be deleted. That its old name
// is gone would not: sendmail may have quarantined the message since.
type removal struct {
	held    *Claim
	data    Body
	touched []*dir
}

func (r *removal) claim() *Claim   { return r.held }
func (r *removal) touches() []*dir { return r.touched }
func (r *removal) release()        { r.held.Release() }
func (r *removal) prepare() error  { return nil }
func (r *removal) undo() error     { return nil }
func (r *removal) land() error     { r.touched = nil; return nil }

// check finds the df. One that is missing is no error.
func (r *removal) check() (err error) {
	if r.data, err = bodyIn(r.data.in, r.held.ID); errors.Is(err, ErrNoBody) {
		return nil
	}
	return err
}

func (r *removal) intent() intent {
	f := r.held.Folder
	return intent{
		Op: "delete", ID: r.held.ID, Control: r.held.name(),
		From:    placesOf(f.qf, r.data.in, f.xf),
		DataIno: r.data.stat.Ino,
	}
}

func (r *removal) commit() error {
	d := r.held.Folder.qf
	r.touched = []*dir{d}
	return d.renameInode(r.held.stat.Ino, r.held.name(), d, oldName(r.held.ID), true)
}

func (r *removal) clean() error {
	f := r.held.Folder
	r.touched = []*dir{r.data.in, f.qf}
	return removeParked(recovering{f.qf, r.data.in, f.xf}, r.held.ID, r.data.stat.Ino)
}

// removeParked removes what a parked control file belongs to, and it last.
func removeParked(from recovering, id string, data uint64) error {
	err := errors.Join(removeTranscript(from.xf, id), from.df.removeInode("df"+id, data))
	if err != nil {
		return err
	}
	return from.qf.remove(oldName(id))
}

// recoverDelete goes on where the control file is parked. Where it is not, the
// message is as it was, or all is done but for the df: of two removals that no
// fsync is between, a loss of power may leave the second alone.
func recoverDelete(in intent, from recovering) error {
	parked, err := from.qf.exists(oldName(in.ID))
	if err != nil {
		return err
	}
	if parked {
		return removeParked(from, in.ID, in.DataIno)
	}
	if controlled, err := hasControl(from.qf, in.ID); err != nil || controlled {
		return err
	}
	return from.df.removeInode("df"+in.ID, in.DataIno)
}
