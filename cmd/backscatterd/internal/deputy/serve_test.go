package deputy

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// Whoever reaches the deputy can have one message sent to one address, and no
// more.
func TestOneAddress(t *testing.T) {
	sent := 0
	w := Work{Submit: func(context.Context, string, bool, *os.File) error { sent++; return nil }}
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for to, good := range map[string]bool{
		"joe@example.org": true, "O'Hara,x@example.org": true,
		"": false, "a@x>,<b@y": false, "a@x>": false, "<a@x": false, "a\nb@x": false, "a\x00@x": false, strings.Repeat("a", 1001): false,
	} {
		before := sent
		_, err := w.do(t.Context(), quoted(to), file)
		if (err == nil) != good || (sent > before) != good {
			t.Errorf("%q: %v", to, err)
		}
	}
}

func quoted(to string) []byte {
	packet, err := json.Marshal(request{Do: "submit", To: to})
	if err != nil {
		panic(err)
	}
	return packet
}
