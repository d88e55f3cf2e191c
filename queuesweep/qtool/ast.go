package qtool

// node is a part of a parsed expression.
type node interface {
	pos() int // offset of its first byte
}

type at int

func (a at) pos() int { return int(a) }

type (
	// group is a node in parentheses of its own.
	group struct {
		at
		inner node
	}
	// logic is && or ||, in both of their spellings.
	logic struct {
		at
		or          bool
		left, right node
	}
	// negation is ! or not.
	negation struct {
		at
		inner node
	}
	// comparison is one of the twelve comparing operators, in its symbol.
	comparison struct {
		at          // of the operator
		op          string
		left, right node
	}
	// match is =~ or !~.
	match struct {
		at      // of the operator
		left    node
		negated bool
		pattern pattern
	}
	// existence is defined or exists.
	existence struct {
		at
		word string
		of   reference
	}
	numeral struct {
		at
		value float64
		text  string // as Perl writes it
	}
	text struct {
		at
		value string
	}
	// reference is $msg{name}, with a header's name and an index where given.
	reference struct {
		at
		name      string
		namePos   int
		header    string
		headerPos int // -1: no second key
		index     int
		indexPos  int // -1: no index
	}
)

// pattern is a regular expression, both as it was written and in RE2.
type pattern struct {
	at
	source string
	re2    string
}

func ungroup(n node) node {
	for {
		g, ok := n.(group)
		if !ok {
			return n
		}
		n = g.inner
	}
}
