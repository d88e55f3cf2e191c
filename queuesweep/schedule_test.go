package queuesweep

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseSchedule(t *testing.T) {
	from := time.Date(2026, 3, 1, 12, 0, 30, 0, time.UTC)
	for _, c := range []struct{ spec, next string }{
		{"*/10 * * * *", "2026-03-01T12:10:00Z"},
		{"0 4 * * 1", "2026-03-02T04:00:00Z"},
		{"@hourly", "2026-03-01T13:00:00Z"},
		{"@daily", "2026-03-02T00:00:00Z"},
		{"@every 90s", "2026-03-01T12:02:00Z"},
		{"CRON_TZ=Asia/Tokyo 0 4 * * *", "2026-03-01T19:00:00Z"},
		{"TZ=America/New_York 30 9 * * *", "2026-03-01T14:30:00Z"},
		// The clock skips this hour there on the 29th: the day after.
		{"CRON_TZ=Europe/Paris 30 2 29,30 3 *", "2026-03-30T00:30:00Z"},
	} {
		s, err := ParseSchedule(c.spec)
		if err != nil {
			t.Errorf("%q: %v", c.spec, err)
			continue
		}
		if next := s.Next(from).UTC().Format(time.RFC3339); next != c.next {
			t.Errorf("%q: next at %s, want %s", c.spec, next, c.next)
		}
	}
}

func TestParseScheduleRefuses(t *testing.T) {
	for spec, says := range map[string]string{
		"":                        "empty",
		"* * * *":                 "expected exactly 5 fields",
		"0 * * * * *":             "expected exactly 5 fields",
		"61 * * * *":              "above maximum",
		"CRON_TZ=UTC":             "needs a schedule behind it",
		"TZ=":                     "needs a schedule behind it",
		"CRON_TZ=Moon/Sea @daily": "bad location",
		"@every 100ms":            "not less than a second",
		"@every -1h":              "not less than a second",
		"@every 1500ms":           "not less than a second",
		"@every soon":             "failed to parse",
		"@sometimes":              "unrecognized descriptor",
		"0 0 30 2 *":              "never comes",
	} {
		if _, err := ParseSchedule(spec); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: error %v, want one with %q", spec, err, says)
		}
	}
}

// clockwork runs jobs for some time in a bubble whose clock stands at midnight,
// and returns the log.
func clockwork(t *testing.T, long time.Duration, jobs ...Job) string {
	t.Helper()
	var log bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	if err := RunSchedule(ctx, slog.New(slog.NewTextHandler(&log, nil)), jobs); err != nil {
		t.Error(err)
	}
	return log.String()
}

// diary notes when something began and ended, in seconds. The schedule lets one
// job run at a time, so it needs no lock.
type diary struct {
	start time.Time
	lines []string
}

func (d *diary) note(what string) {
	d.lines = append(d.lines, fmt.Sprintf("%s %d", what, int(time.Since(d.start).Seconds())))
}

func (d *diary) job(name, spec string, takes time.Duration) Job {
	return Job{Name: name, Spec: spec, Run: func(context.Context) {
		d.note(name)
		time.Sleep(takes)
		d.note("end of " + name)
	}}
}

// A job that is due while its last turn is not over is left out, and logged.
func TestLateJobIsLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := diary{start: time.Now()}
		log := clockwork(t, 250*time.Second, d.job("sweep", "* * * * *", 90*time.Second))
		want := []string{"sweep 60", "end of sweep 150", "sweep 180", "end of sweep 270"}
		if diff := cmp.Diff(want, d.lines); diff != "" {
			t.Error(diff)
		}
		if n := strings.Count(log, `level=WARN msg="left out: its last turn is not over yet" job=sweep`); n != 2 {
			t.Errorf("left out %d times, want 2:\n%s", n, log)
		}
	})
}

// Jobs that are due at the same time take turns; none is lost.
func TestJobsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := diary{start: time.Now()}
		clockwork(t, 110*time.Second,
			d.job("a", "* * * * *", 10*time.Second), d.job("b", "* * * * *", 10*time.Second), d.job("c", "* * * * *", 10*time.Second))
		if len(d.lines) != 6 {
			t.Fatalf("%v", d.lines)
		}
		var names []string
		for i := 0; i < len(d.lines); i += 2 {
			name, at, _ := strings.Cut(d.lines[i], " ")
			names = append(names, name)
			if want := fmt.Sprint(60 + 5*i); at != want || d.lines[i+1] != fmt.Sprintf("end of %s %d", name, 70+5*i) {
				t.Errorf("two at a time, or not at once: %v", d.lines)
			}
		}
		slices.Sort(names)
		if diff := cmp.Diff([]string{"a", "b", "c"}, names); diff != "" {
			t.Error(diff)
		}
	})
}

// A panic of a job is logged; it and the others go on.
func TestJobPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := diary{start: time.Now()}
		bad := Job{Name: "bad", Spec: "* * * * *", Run: func(context.Context) { d.note("bad"); panic("oh") }}
		log := clockwork(t, 130*time.Second, bad, d.job("good", "30 * * * *", 0), d.job("other", "@every 50s", 0))
		slices.Sort(d.lines)
		want := []string{"bad 120", "bad 60", "end of other 100", "end of other 50", "other 100", "other 50"}
		if diff := cmp.Diff(want, d.lines); diff != "" {
			t.Error(diff)
		}
		if n := strings.Count(log, `msg="a scheduled job panicked" job=bad panic=oh`); n != 2 {
			t.Errorf("%d panics are logged, want 2:\n%s", n, log)
		}
	})
}

// The end waits for the job in hand, whose context tells it to hurry, and starts
// none that waits for its turn.
func TestScheduleEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := diary{start: time.Now()}
		patient := func(name string) Job {
			return Job{Name: name, Spec: "* * * * *", Run: func(ctx context.Context) {
				d.note("job")
				<-ctx.Done()
				time.Sleep(5 * time.Second) // the batch in hand
				d.note("end of job")
			}}
		}
		clockwork(t, 75*time.Second, patient("a"), patient("b"))
		d.note("end")
		if diff := cmp.Diff([]string{"job 60", "end of job 80", "end 80"}, d.lines); diff != "" {
			t.Error(diff)
		}
	})
}

func TestRunScheduleRefuses(t *testing.T) {
	err := RunSchedule(t.Context(), slog.New(slog.DiscardHandler), []Job{{Name: "a", Spec: "x"}, {Name: "b", Spec: "@daily"}, {Name: "c", Spec: ""}})
	if err == nil || !strings.Contains(err.Error(), "a: ") || !strings.Contains(err.Error(), "c: ") {
		t.Errorf("error %v", err)
	}
}
