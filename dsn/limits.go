package dsn

// Limits bound the work and the memory spent on one message. A zero field
// means the default; a negative one means the same, so no value turns a limit off.
type Limits struct {
	Bytes       int64 // read of the message in all; default 4 MiB
	HeaderBytes int   // of one header block; default 256 KiB
	Parts       int   // MIME parts in all; default 100
	Depth       int   // multiparts and messages inside each other; default 10
	Recipients  int   // kept in the report; default 1000
}

func (l Limits) withDefaults() Limits {
	if l.Bytes <= 0 {
		l.Bytes = 4 << 20
	}
	if l.HeaderBytes <= 0 {
		l.HeaderBytes = 256 << 10
	}
	if l.Parts <= 0 {
		l.Parts = 100
	}
	if l.Depth <= 0 {
		l.Depth = 10
	}
	if l.Recipients <= 0 {
		l.Recipients = 1000
	}
	return l
}
