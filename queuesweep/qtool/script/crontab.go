package script

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/backscatterd/backscatterd/queuesweep"
)

var (
	cronTimes = lazily(`^[ \t]*(@[a-z]+|[-0-9*/,~]+(?:[ \t]+[-0-9*/,~]+){2}[ \t]+[-0-9a-zA-Z*/,~]+[ \t]+[-0-9a-zA-Z*/,~]+)[ \t]+(\S.*)$`)
	cronSets  = lazily(`^[ \t]*(?:"([A-Za-z_][A-Za-z0-9_]*)"|'([A-Za-z_][A-Za-z0-9_]*)'|([A-Za-z_][A-Za-z0-9_]*))[ \t]*=[ \t]*(.*)$`)
	userName  = lazily(`^[a-z_][a-z0-9_-]*\$?$`)
)

// isCrontab tells whether the first line that says something has a schedule, or
// sets a variable ahead of one that has.
func isCrontab(f File) bool {
	if strings.HasPrefix(string(f.Data), "#!") {
		return false
	}
	for line := range strings.Lines(string(f.Data)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#' || cronSets().MatchString(line):
		default:
			return cronTimes().MatchString(line)
		}
	}
	return false
}

// crontab reads a crontab, with the column of users or without.
func (r *reading) crontab(src source) {
	vars, zone := make(map[string]value), ""
	users := hasUsers(src)
	at := 0
	for line := range strings.Lines(src.text) {
		start := at
		at += len(line)
		line = strings.TrimRight(line, "\r\n")
		trimmed := strings.TrimSpace(line)
		if trimmed == "" || trimmed[0] == '#' {
			continue
		}
		if m := cronTimes().FindStringSubmatchIndex(line); m != nil {
			r.cronLine(src.part(start, start+len(line)), m, users, zone, vars)
			continue
		}
		if m := cronSets().FindStringSubmatch(line); m != nil {
			name, text := m[1]+m[2]+m[3], unquote(strings.TrimSpace(m[4]))
			vars[name] = value{list: []string{text}} // cron puts no variables in
			if name == "CRON_TZ" {
				zone = text
			}
			continue
		}
		if mentions(line) {
			r.problem(src, start, "not taken: this is no line of a crontab (minute hour day month weekday command)")
		}
	}
}

func unquote(s string) string {
	if n := len(s); n >= 2 && (s[0] == '"' || s[0] == '\'') && s[n-1] == s[0] {
		return s[1 : n-1]
	}
	return s
}

// hasUsers tells whether the sixth word of the lines is a user, as in
// /etc/crontab and /etc/cron.d.
func hasUsers(src source) bool {
	if dir := path.Dir(src.file.Name); src.file.Name == "/etc/crontab" || dir == "/etc/cron.d" {
		return true
	}
	lines := 0
	for line := range strings.Lines(src.text) {
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		m := cronTimes().FindStringSubmatch(strings.TrimRight(line, "\r\n"))
		if m == nil {
			continue
		}
		lines++
		words := strings.Fields(m[2])
		if len(words) < 2 || !userName().MatchString(words[0]) || wrappers[words[0]] || lookers[words[0]] || words[0] == "qtool" ||
			slices.Contains([]string{"sh", "bash", "dash", "ksh", "if", "for", "while", "eval", "run-parts", "su", "xargs"}, words[0]) ||
			strings.HasPrefix(words[1], "-") {
			return false
		}
	}
	return lines > 0
}

// cronLine reads one entry; m are the matches of cronTimes.
func (r *reading) cronLine(src source, m []int, users bool, zone string, vars map[string]value) {
	spec, command := src.text[m[2]:m[3]], src.part(m[4], m[5])
	if users {
		user := strings.IndexAny(command.text, " \t")
		if user < 0 {
			return
		}
		command = command.part(user, len(command.text))
		command = command.part(len(command.text)-len(strings.TrimLeft(command.text, " \t")), len(command.text))
	}
	command = input(command)
	schedule, why := scheduleOf(spec, zone)
	for _, w := range strings.FieldsFunc(command.text, func(c rune) bool { return strings.ContainsRune(" \t;|&()<>\"'", c) }) {
		if !isQtool(word{text: w}) && why == "" && r.runs(w, schedule) {
			return
		}
	}
	calls := mentions(command.text)
	for name, v := range vars {
		calls = calls || strings.Contains(command.text, "$"+name) && mentions(v.list[0])
	}
	switch {
	case !calls:
		return
	case why != "":
		r.problem(src, m[2], "not taken: "+why)
		return
	}
	if fault := r.shell(command, schedule, vars); fault != nil {
		r.problem(command, fault.offset, "not taken: "+fault.text)
	}
}

// input ends a command at its first %, behind which cron takes it for input, and
// takes the backslashes from the others.
func input(s source) source {
	var b strings.Builder
	var at []int
	for i := 0; i < len(s.text); i++ {
		c := s.text[i]
		if c == '%' {
			s = s.part(0, i)
			break
		}
		if c == '\\' && i+1 < len(s.text) && s.text[i+1] == '%' {
			i++
			c = '%'
		}
		b.WriteByte(c)
		at = append(at, s.at[i])
	}
	return source{s.file, b.String(), append(at, s.at[len(s.text)])}
}

// scheduleOf is a crontab's schedule as the configuration takes it, or why it
// has none such.
func scheduleOf(spec, zone string) (schedule, why string) {
	fields := strings.Fields(spec)
	if len(fields) == 5 {
		day, weekday := fields[2], fields[4]
		if day != "*" && weekday != "*" && (day[0] == '*' || weekday[0] == '*') {
			return "", "cron wants both the day of the month and the weekday here, a schedule of ours either: divide it, or write the days out"
		}
		fields[3], fields[4] = strings.ToLower(fields[3]), sundays(strings.ToLower(weekday))
	}
	schedule = strings.Join(fields, " ")
	if spec == "@reboot" {
		return "", "@reboot is no time; backscatterd serve sweeps on the schedule of [sweep]"
	}
	if zone != "" {
		schedule = "CRON_TZ=" + zone + " " + schedule
	}
	if _, err := queuesweep.ParseSchedule(schedule); err != nil {
		return "", err.Error()
	}
	return schedule, ""
}

// sundays writes the weekday 7 as 0.
func sundays(field string) string {
	if !strings.Contains(field, "7") {
		return field
	}
	var out []string
	for item := range strings.SplitSeq(field, ",") {
		days, step, stepped := strings.Cut(item, "/")
		from, to, isRange := strings.Cut(days, "-")
		if !isRange {
			to = from
		}
		a, errA := strconv.Atoi(from)
		b, errB := strconv.Atoi(to)
		n := 1
		if stepped {
			n, _ = strconv.Atoi(step)
		}
		if b != 7 || errA != nil || errB != nil || n < 1 || a > b || a < 0 {
			out = append(out, item)
			continue
		}
		for d := a; d <= b; d += n {
			if day := fmt.Sprint(d % 7); !slices.Contains(out, day) {
				out = append(out, day)
			}
		}
	}
	return strings.Join(out, ",")
}
