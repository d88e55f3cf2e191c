package evidence

import "fmt"

// Name names a piece of evidence by what it says when it holds. It is also the
// word that stands for it among the reasons of X-Backscatter-Status.
type Name string

// Proofs: any one of them makes a bounce legit.
const (
	BATV            Name = "batv"             // P1: the recipient carries a tag of ours
	Token           Name = "token"            // P2: the returned header carries a token of ours
	LedgerMessage   Name = "ledger-message"   // P3: the ledger knows the returned Message-ID
	LedgerRecipient Name = "ledger-recipient" // P3: this user wrote to the failed recipient lately
	EnvelopeID      Name = "envelope-id"      // P4: Original-Envelope-Id is one that we signed
)

// Support: it can be forged, and only keeps a bounce from being called suspect.
const (
	ExpiredSignature Name = "expired-signature" // a signature of ours that is too old to prove anything
	OurRelay         Name = "our-relay"         // the returned header has a Received line of a host of ours
	OurAddress       Name = "our-address"       // ... a host that got it from an address of ours
	OurMessageID     Name = "our-message-id"    // the Message-ID was made by a host of ours
	WroteToDomain    Name = "wrote-to-domain"   // this user wrote to the bounce's domain lately
)

// Contras: evidence against a bounce.
const (
	NotInLedger     Name = "not-in-ledger"      // C1: the returned header is complete, and the ledger would know the message
	FirstHopNotOurs Name = "first-hop-not-ours" // C2: the returned message was never on a host of ours
	HELOOurDomain   Name = "helo-our-domain"    // C2: a stranger called himself by our bare domain
	NeverSends      Name = "never-sends"        // C3: the recipient is configured as one that sends no mail
	NotSeenSending  Name = "not-seen-sending"   // C3: the ledger knows no mail of the recipient
	ManyRecipients  Name = "many-recipients"    // C4: null sender and more than one recipient
	Listed          Name = "listed"             // C5: the source is in the DNS list
	ForgedSignature Name = "forged-signature"   // C6: a tag or token of ours that is wrong
)

// Brakes: they keep a verdict from being suspect for want of knowledge.
const (
	KindNeverSuspect Name = "kind-never-suspect" // automatic replies, disposition notices, lists, feedback reports
	Exempt           Name = "exempt"             // handed in by a host or user of ours
	Cut              Name = "cut"                // a limit or the end came before all was read
	NotCovered       Name = "not-covered"        // mail of the recipient's domain also leaves elsewhere
	WarmUp           Name = "warm-up"            // the ledger has not run for long enough
	Gap              Name = "gap"                // the ledger has a gap in which the message may have left
	LookupFailed     Name = "lookup-failed"      // something could not be looked up
)

// Words of the reasons that are no evidence themselves.
const (
	NoProof  Name = "no-proof" // of every verdict that is not legit
	Replayed Name = "replayed" // the proof was shown more often than bounces should
	Flood    Name = "flood"    // the recipient got more bounces today than is plausible
)

// Role is what a piece of evidence is good for.
type Role string

// The roles.
const (
	Proof   Role = "proof"
	Support Role = "support"
	Contra  Role = "contra"
	Brake   Role = "brake"
	Note    Role = "note" // changes no verdict
)

// Outcome is what a look at a piece of evidence said.
type Outcome int

// The outcomes. The zero value is NotLooked.
const (
	NotLooked Outcome = iota // it was not looked at; the finding says why
	No                       // it was, and it does not hold
	Yes                      // it holds
	Errored                  // the look-up failed
)

func (o Outcome) String() string {
	return [...]string{"not looked at", "no", "yes", "error"}[o]
}

// Finding is one piece of evidence, and what became of it.
type Finding struct {
	Name    Name
	Role    Role
	Outcome Outcome
	// Detail says it in plain words. It may quote the message: make it safe
	// before it goes to a terminal. Empty of a terse Case.
	Detail string
}

// sheet collects the findings about one message.
type sheet struct {
	findings []Finding
	terse    bool
}

func (s *sheet) add(role Role, name Name, o Outcome, format string, args ...any) {
	detail := ""
	if !s.terse {
		detail = fmt.Sprintf(format, args...)
	}
	s.findings = append(s.findings, Finding{name, role, o, detail})
}

// proofs gives a proof function its role.
func (s *sheet) proof(name Name, o Outcome, format string, args ...any) {
	s.add(Proof, name, o, format, args...)
}

func (s *sheet) support(name Name, o Outcome, format string, args ...any) {
	s.add(Support, name, o, format, args...)
}

func (s *sheet) contra(name Name, o Outcome, format string, args ...any) {
	s.add(Contra, name, o, format, args...)
}

func (s *sheet) brake(name Name, o Outcome, format string, args ...any) {
	s.add(Brake, name, o, format, args...)
}

// holds reports whether a piece of evidence was looked at and holds.
func holds(findings []Finding, name Name) bool {
	for _, f := range findings {
		if f.Name == name && f.Outcome == Yes {
			return true
		}
	}
	return false
}

// any reports whether one of a role has this outcome.
func anyOf(findings []Finding, role Role, o Outcome) bool {
	for _, f := range findings {
		if f.Role == role && f.Outcome == o {
			return true
		}
	}
	return false
}
