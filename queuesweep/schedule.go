package queuesweep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/robfig/cron/v3"
)

// Job is something that happens on a cron schedule.
type Job struct {
	Name string
	Spec string // as ParseSchedule takes it
	Run  func(ctx context.Context)
}

// ParseSchedule reads a cron schedule of five fields, a descriptor such as
// @hourly or @every 10m, or either behind CRON_TZ=zone. It refuses what the
// cron library would take wrongly: a zone without a schedule makes it panic,
// "@every 100ms" would run every second, and a date that never comes is none.
func ParseSchedule(spec string) (schedule cron.Schedule, err error) {
	defer func() {
		if r := recover(); r != nil {
			schedule, err = nil, fmt.Errorf("schedule %q: a time zone needs a schedule behind it", spec)
		}
	}()
	parser := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)
	schedule, err = parser.Parse(spec)
	if err != nil {
		return nil, fmt.Errorf("schedule %q: %w (five fields: minute hour day month weekday, or @hourly, @every 10m)", spec, err)
	}
	if every, ok := schedule.(cron.ConstantDelaySchedule); ok && every.Delay < time.Minute {
		if d, ok := everyOf(spec); !ok || d != every.Delay {
			return nil, fmt.Errorf("schedule %q: not less than a second", spec)
		}
	}
	if schedule.Next(time.Now()).IsZero() {
		return nil, fmt.Errorf("schedule %q: that date never comes", spec)
	}
	return schedule, nil
}

// RunSchedule runs jobs on their schedules until ctx ends, then waits for the
// one that is running. One runs at a time, others that are due wait for it; a
// job whose last turn is not over is left out, and logged.
func RunSchedule(ctx context.Context, log *slog.Logger, jobs []Job) error {
	turn := make(chan struct{}, 1)
	c := cron.New()
	var errs []error
	for _, j := range jobs {
		schedule, err := ParseSchedule(j.Spec)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", j.Name, err))
			continue
		}
		c.Schedule(schedule, cron.FuncJob(takeTurns(ctx, log, j, turn)))
		log.Info("scheduled", "job", j.Name, "schedule", j.Spec, "next", schedule.Next(time.Now()).Format(time.RFC3339))
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	c.Start()
	<-ctx.Done()
	<-c.Stop().Done()
	return nil
}

// takeTurns is a job's run with what the library's chain of SkipIfStillRunning
// and Recover would do, and with its turn among the other jobs.
func takeTurns(ctx context.Context, log *slog.Logger, j Job, turn chan struct{}) func() {
	busy := make(chan struct{}, 1)
	return func() {
		select {
		case busy <- struct{}{}:
			defer func() { <-busy }()
		default:
			log.Warn("left out: its last turn is not over yet", "job", j.Name)
			return
		}
		select {
		case turn <- struct{}{}:
			defer func() { <-turn }()
		case <-ctx.Done():
			return
		}
		defer func() {
			if p := recover(); p != nil {
				log.Error("a scheduled job panicked", "job", j.Name, "panic", p)
			}
		}()
		if ctx.Err() == nil {
			j.Run(ctx)
		}
	}
}

// everyOf is the duration of an @every.
func everyOf(spec string) (time.Duration, bool) {
	const every = "@every "
	for i := 0; i+len(every) <= len(spec); i++ {
		if spec[i:i+len(every)] == every {
			d, err := time.ParseDuration(spec[i+len(every):])
			return d, err == nil
		}
	}
	return 0, false
}
