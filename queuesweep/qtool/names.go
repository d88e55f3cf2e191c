package qtool

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// name is what one of qtool.pl's names of a value is to our rules.
type name struct {
	code    string // letter of the line, "" where it is none
	text    string // our name for it as text; "" means line("code")
	number  string // our name for it as a number; "" means number(text)
	many    bool   // stands once for each recipient, or as often as it likes
	noText  bool   // a number only
	because string // why it cannot be asked for; "" if it can
	hint    string
}

// names are the names of qtool.pl: those of its parse_table (also of older
// versions: X was charset), and those that its objects keep beside them.
var names = map[string]name{
	"auth":                  {code: "A"},
	"body_type":             {code: "B", text: "body_type"},
	"charset":               {code: "X"},
	"content-length":        {code: "L"},
	"controlling_user":      {code: "C", many: true},
	"creation_time":         {code: "T"},
	"current_delay":         {code: "Y"},
	"data_file_directory":   {code: "d"},
	"data_file_name":        {code: "D"},
	"deliver_by":            {code: "!"},
	"envid":                 {code: "Z"},
	"error_recipient":       {code: "E", many: true},
	"final_recipient":       {code: "r", many: true},
	"flags":                 {code: "F", text: "flags"},
	"inode_number":          {code: "I"},
	"macro":                 {code: "$", many: true},
	"message":               {code: "M", text: "status"},
	"next_delivery_time":    {code: "K"},
	"num_delivery_attempts": {code: "N", number: "attempts"},
	"original_recipient":    {code: "Q", many: true},
	"parse_header":          {code: "H", many: true},
	"priority":              {code: "P", number: "priority"},
	"quarantine_reason":     {code: "q", text: "quarantine"},
	"recipient":             {code: "R", many: true},
	"sender":                {code: "S"},
	"version":               {code: "V"},

	"id":        {text: "id"},
	"body_size": {number: "size", noText: true},

	"body_last_mod_time":    {because: "rules know the age of the body, not its time", hint: "use the option -s SECONDS"},
	"control_last_mod_time": {because: "rules do not know the time of the control file", hint: "$msg{next_delivery_time} is the time of the last attempt, $msg{creation_time} that of the message"},
	"control_size":          {because: "rules do not know the size of the control file", hint: "$msg{body_size} is that of the body"},
	"file_name":             {because: "rules do not know the path of a file", hint: "$msg{id} is the queue id; a folder is named as a source, behind the options"},
	"unknown":               {because: "no sound control file has a line that qtool.pl does not know, and others are left alone", hint: "$msg{macro}, $msg{flags} and the like name lines by what they are"},
}

// source is a value of the message in our rules' language.
type source struct {
	text   string // as text, "" where it has none
	number string // as a number
	list   string // where it may stand more than once: all of them
	exists cond   // nil where nobody can say
	header bool
}

// each says whether the value stands for all of a list.
func (s source) each() bool { return s.list != "" }

// single is the first value where it is a header's: two headers, and a header
// and a recipient, are compared by that.
func (s source) single() source {
	if s.header {
		s.list = ""
	}
	return s
}

// resolve finds the value that a reference means.
func (t *translator) resolve(r reference) (source, error) {
	if r.name == "headers" {
		return t.header(r)
	}
	n, ok := names[r.name]
	switch {
	case !ok:
		return source{}, t.errorAt(r.namePos, nameHint(r.name), "qtool.pl knows no name %s", strconv.Quote(r.name))
	case n.because != "":
		return source{}, t.errorAt(r.namePos, n.hint, "$msg{%s}: %s", r.name, n.because)
	case r.headerPos >= 0:
		return source{}, t.errorAt(r.headerPos, "headers are $msg{headers}->{"+r.header+"}", "$msg{%s} has no names in it", r.name)
	case r.indexPos >= 0 && n.code == "":
		return source{}, t.errorAt(r.indexPos, "write $msg{"+r.name+"}", "$msg{%s} is a single value", r.name)
	}
	if n.noText {
		return source{number: n.number}, nil
	}
	if n.code == "" {
		return source{text: n.text, number: "number(" + n.text + ")", exists: constant(true)}, nil
	}
	all := "lines(" + quote(n.code) + ")"
	first := n.text
	if first == "" {
		first = "line(" + quote(n.code) + ")"
	}
	s := indexed(r, first, all, n.many)
	if n.number != "" && s.text == first {
		s.number = n.number
	}
	return s, nil
}

// indexed is the value that an index, or none, takes from a list whose first one
// has an expression of its own.
func indexed(r reference, first, all string, many bool) source {
	s := source{exists: test("len("+all+") > 0", "len("+all+") == 0")}
	switch {
	case r.indexPos < 0 && many:
		s.list = all
	case r.index != 0:
		first = element(all, r.index)
		least := strconv.Itoa(max(r.index+1, -r.index))
		s.exists = test("len("+all+") >= "+least, "len("+all+") < "+least)
	}
	s.text, s.number = first, "number("+first+")"
	return s
}

// element is one of a list, "" where the list is shorter. An index past the end
// would be a failure.
func element(all string, index int) string {
	least := strconv.Itoa(max(index+1, -index))
	return "(len(" + all + ") >= " + least + " ? " + all + "[" + strconv.Itoa(index) + `] : "")`
}

// header is $msg{headers}->{Name}.
//
// Old versions of qtool.pl cut three bytes off a header's line, which are the
// ?? of most headers and the first letter of the name: their users wrote
// {ubject}. Where the condition between the question marks has one letter, as in
// H?P?Return-Path, the cut left the full name, and so did all versions that
// split at the question marks. A name that is a header's full name is taken for
// that; any other may be a full name that we do not know or one less its first
// letter, and old_headers looks for both.
func (t *translator) header(r reference) (source, error) {
	if r.headerPos < 0 {
		at := r.namePos
		if r.indexPos >= 0 {
			at = r.indexPos
		}
		return source{}, t.errorAt(at, "write $msg{headers}->{Subject}, for example", "a header's name is missing behind $msg{headers}")
	}
	for i := range len(r.header) {
		if c := r.header[i]; c <= ' ' || c > '~' || c == ':' {
			return source{}, t.errorAt(r.headerPos, `write the name only, without colon and blanks: {"X-Spam-Flag"}`, "no header can have the name %s", strconv.Quote(r.header))
		}
	}
	if r.header == "" {
		return source{}, t.errorAt(r.headerPos, "write $msg{headers}->{Subject}, for example", "this header's name is empty")
	}
	quoted := quote(r.header)
	all := "raw_headers(" + quoted + ")"
	first := "raw_header(" + quoted + ")"
	if !isFullName(r.header) {
		all = "old_headers(" + quoted + ")"
		first = element(all, 0)
	}
	s := indexed(r, first, all, true)
	s.header = true
	return s, nil
}

func isFullName(header string) bool {
	header = strings.ToLower(header)
	return strings.HasPrefix(header, "x-") || strings.HasPrefix(header, "list-") ||
		strings.HasPrefix(header, "resent-") || slices.Contains(fullNames, header)
}

// fullNames are the headers that mail carries (IANA's list of message headers,
// and those of the field). None of them is another one less its first letter.
var fullNames = strings.Fields(`
accept-language apparently-to arc-authentication-results arc-message-signature arc-seal archived-at
authentication-results auto-submitted autocrypt autoforwarded bcc bounces-to cc comments
content-alternative content-class content-description content-disposition content-id content-language
content-length content-location content-md5 content-transfer-encoding content-type date dkim-signature
deferred-delivery delivered-to delivery-date disposition-notification-options disposition-notification-to
domainkey-signature encoding encrypted envelope-to errors-to expires expiry-date feedback-id from full-name
importance in-reply-to keywords language lines mail-followup-to mail-reply-to mailing-list message-id
message-type mime-version newsgroups organisation organization original-message-id original-recipient
posted-date precedence priority received received-spf references reply-to require-recipient-valid-since
return-path return-receipt-to sender sensitivity solicitation status subject thread-index thread-topic
tls-required to user-agent via xref`)

// nameHint helps with a name that qtool.pl does not have.
func nameHint(wrong string) string {
	known := slices.Sorted(maps.Keys(names))
	if isFullName(wrong) || strings.ContainsRune(wrong, '-') {
		return "headers are $msg{headers}->{" + wrong + "}"
	}
	for _, k := range known {
		if strings.EqualFold(k, wrong) || editDistance(k, strings.ToLower(wrong)) <= min(2, len(k)/4) {
			return "did you mean $msg{" + k + "}?"
		}
	}
	known = slices.DeleteFunc(known, func(k string) bool { return names[k].because != "" })
	return "it knows headers " + strings.Join(known, " ")
}

// editDistance counts the letters to add, drop or replace between two names.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
