package canonical

import "testing"

// What hosts do to an address or a Message-ID on the way makes no difference.
func TestOneSpelling(t *testing.T) {
	for in, want := range map[string]string{
		" <Joe.Doe@Example.ORG> ": "joe.doe@example.org", "joe@example.org": "joe@example.org", "<>": "", "": "", "É@x": "É@x",
	} {
		if got := Address(in); got != want {
			t.Errorf("Address(%q) is %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"<Ab.1@MX>": "Ab.1@MX", " <a@b>\r\n\t": "a@b", "<a\r\n b@c>": "ab@c", "": "", "<\xe9\r\n b@c>": "\xe9b@c",
	} {
		if got := MessageID(in); got != want {
			t.Errorf("MessageID(%q) is %q, want %q", in, got, want)
		}
	}
}
