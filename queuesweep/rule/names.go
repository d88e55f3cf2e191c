package rule

import (
	"maps"
	"mime"
	"slices"
	"strings"
	"time"

	"github.com/backscatterd/backscatterd/dsn"
	"github.com/backscatterd/backscatterd/queuesweep/perlnum"
	"github.com/backscatterd/backscatterd/queuesweep/qf"
)

// Names with a blank cannot be written in a condition: the terms of "returned"
// become calls of these.
const (
	returnedHeader  = "returned header"
	returnedHeaders = "returned headers"
	returnedFailed  = "returned failed"
	returnedStatus  = "returned status"
)

// fields are the names of values. In a compiled condition each is a call, so
// that a value costs nothing until it is needed.
var fields = map[string]string{
	"id": "string", "queue": "string", "state": "string",
	"sender": "string", "null_sender": "bool", "recipients": "list of string",
	"status": "string", "statuses": "list of string",
	"attempts": "int", "priority": "int", "size": "int",
	"age": "duration", "since_attempt": "duration", "df_age": "duration",
	"flags": "string", "body_type": "string", "envid": "string", "quarantine": "string",
	"is_dsn": "bool", "verdict": "string",
}

// functions are the names of functions, each with an example of its use.
var functions = map[string]string{
	"header": `header("Subject")`, "headers": `headers("Received")`,
	"raw_header": `raw_header("Subject")`, "raw_headers": `raw_headers("Received")`,
	"old_headers": `old_headers("ubject")`, "macro": `macro("auth_authen")`,
	"line": `line("S")`, "lines": `lines("R")`,
	"number": `number(header("X-Spam-Score"))`, "duration": `duration("4h")`,
}

// builtins are those functions of expr that conditions have.
var builtins = map[string]string{
	"len": `len(recipients)`, "lower": `lower(sender)`, "upper": `upper(sender)`,
	"trim": `trim(line("M"))`, "trimPrefix": `trimPrefix(status, "Deferred: ")`, "trimSuffix": `trimSuffix(sender, ".")`,
	"split": `split(sender, "@")`, "indexOf": `indexOf(status, ":")`,
	"int": `int(header("X-Count"))`, "float": `float(header("X-Score"))`, "string": `string(attempts)`,
	"abs": `abs(attempts - 5)`, "min": `min(attempts, 5)`, "max": `max(attempts, 5)`,
	"any":    `any(recipients, # endsWith "@example.com")`,
	"all":    `all(recipients, # endsWith "@example.com")`,
	"none":   `none(recipients, # endsWith "@example.com")`,
	"one":    `one(recipients, # endsWith "@example.com")`,
	"count":  `count(recipients, # endsWith "@example.com")`,
	"filter": `filter(recipients, # contains "@")`, "map": `map(recipients, lower(#))`,
}

// members are what "returned" has; true marks the functions.
var members = map[string]bool{"header": true, "headers": true, "failed": false, "status": false}

// knownNames are all names that a condition may use, sorted.
func knownNames() []string {
	names := slices.Collect(maps.Keys(fields))
	names = slices.AppendSeq(names, maps.Keys(functions))
	names = append(names, "returned")
	slices.Sort(names)
	return names
}

// environment binds the names of conditions to the message that a Judge looks
// at. The types of its functions are what conditions are checked against; all
// but those that give lists are ones that expr calls without reflection.
func environment(j *Judge) map[string]any {
	file := func() *qf.File { return j.m.File }
	return map[string]any{
		"id":    func() string { return j.m.ID },
		"queue": func() string { return j.m.Queue },
		"state": func() string { return j.m.State },

		"sender":      func() string { return file().Sender() },
		"null_sender": func() bool { return file().NullSender() },
		"recipients":  func() []string { return addresses(file()) },
		"status":      func() string { return j.statusText() },
		"statuses":    func() []string { return file().Statuses() },
		"attempts":    func() int { return file().Attempts() },
		"priority":    func() int { return file().Priority() },
		"flags":       func() string { return file().Flags() },
		"body_type":   func() string { return file().BodyType() },
		"envid":       func() string { return file().EnvelopeID() },
		"quarantine":  func() string { return file().Quarantine() },
		"is_dsn":      func() bool { return isDSN(file()) },
		"verdict":     func() string { return verdict(file()) },

		"age":           func() time.Duration { return since(j.now(), file().Created()) },
		"since_attempt": func() time.Duration { return sinceAttempt(j.now(), file()) },

		"header":      func(name string) string { return file().Header(name) },
		"headers":     func(name string) []string { return headers(file(), name) },
		"raw_header":  func(name string) string { v, _ := file().RawHeader(name); return v },
		"raw_headers": func(name string) []string { return rawHeaders(file(), name) },
		"old_headers": func(name string) []string { return oldHeaders(file(), name) },
		"macro":       func(name string) string { return file().Macro(name) },
		"line":        func(code string) string { return firstLine(file(), code) },
		"lines":       func(code string) []string { return allLines(file(), code) },
		"number":      perlnum.Value,

		"size":   func() int { return j.size() },
		"df_age": func() time.Duration { return j.dfAge() },

		returnedHeader:  func(name string) string { return j.returned().Returned.Header(name) },
		returnedHeaders: func(name string) []string { return j.returned().Returned.Headers(name) },
		returnedFailed:  func() []string { return j.returned().FailedRecipients() },
		returnedStatus:  func() string { return j.returned().Status },
	}
}

func since(now, then time.Time) time.Duration {
	if then.IsZero() {
		return 0
	}
	return now.Sub(then)
}

// sinceAttempt is the age for a message that was never tried: for that long
// nothing has been done for it.
func sinceAttempt(now time.Time, f *qf.File) time.Duration {
	if last := f.LastAttempt(); !last.IsZero() {
		return now.Sub(last)
	}
	return since(now, f.Created())
}

func addresses(f *qf.File) []string {
	var out []string
	for r := range f.Recipients() {
		out = append(out, r.Address)
	}
	return out
}

func headers(f *qf.File, name string) []string {
	var out []string
	for h := range f.Headers() {
		if strings.EqualFold(h.Name, name) {
			out = append(out, h.Value())
		}
	}
	return out
}

func rawHeaders(f *qf.File, name string) []string {
	var out []string
	for h := range f.Headers() {
		if strings.EqualFold(h.Name, name) {
			out = append(out, h.Raw())
		}
	}
	return out
}

// oldHeaders also finds headers as old versions of qtool.pl named them: it cut
// three bytes off the line, which made "?P?Date" a "Date", and "??Subject" a
// "ubject".
func oldHeaders(f *qf.File, name string) []string {
	var out []string
	for h := range f.Headers() {
		full := strings.EqualFold(h.Name, name)
		if full || h.Condition == "" && len(h.Name) > 1 && strings.EqualFold(h.Name[1:], name) {
			out = append(out, h.Raw())
		}
	}
	return out
}

func firstLine(f *qf.File, code string) string {
	if len(code) != 1 {
		return ""
	}
	v, _ := f.Line(code[0])
	return qf.Text(v)
}

func allLines(f *qf.File, code string) []string {
	if len(code) != 1 {
		return nil
	}
	var out []string
	for v := range f.Lines(code[0]) {
		out = append(out, qf.Text(v))
	}
	return out
}

// isDSN tells a bounce: one that this sendmail made (the r flag), or one of
// RFC 3464 that came from elsewhere.
func isDSN(f *qf.File) bool {
	if f.OwnDSN() {
		return true
	}
	kind, params, err := mime.ParseMediaType(f.Header("Content-Type"))
	if err != nil && len(params) == 0 {
		return false
	}
	return kind == "multipart/report" && strings.EqualFold(params["report-type"], "delivery-status")
}

// verdict is the first word of the header that the milter writes.
func verdict(f *qf.File) string {
	word, _, _ := strings.Cut(f.Header("X-Backscatter-Status"), " ")
	return word
}

// nothing is what a message without a readable bounce in it has returned.
var nothing = new(dsn.Report)
