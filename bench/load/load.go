package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// request is one kind of job. Every {n} in its body becomes the number of the job.
type request struct {
	Path string `json:"path"`
	Type string `json:"content_type"`
	Body []byte `json:"body"` // base64 in JSON

	pieces [][]byte
}

type options struct {
	mode          string
	callers, jobs int
	conns         int
	rate          float64
	poll, limit   time.Duration
	period        time.Duration
	polls         int
	follow        bool
	keys          []string
	marker, list  string
}

type load struct {
	options
	client                  *client
	host                    string
	requests                []request
	accepted, ended, polled histogram
	failed, unended         atomic.Int64
	lastAccept              atomic.Int64
	next                    atomic.Int64
	started                 time.Time
	finished                jobs
}

// jobs remembers where finished jobs answer, for polls of them.
type jobs struct {
	mutex sync.Mutex
	heads []string
}

func runLoad(arguments []string) {
	l := &load{}
	flags := flag.NewFlagSet("run", flag.ExitOnError)
	base := flags.String("url", "http://127.0.0.1:8080", "where the API answers")
	file := flags.String("requests", "", "JSON file: a list of {path, content_type, body (base64)}, taken in turn")
	keys := flags.String("keys", "", "virtual keys, comma separated, taken in turn")
	flags.StringVar(&l.mode, "mode", "submit", "submit: until the 202; result: until the result is collected; "+
		"storm: only polls, for -period, of the jobs in -finished; mixed: a submit, then -polls polls of earlier jobs")
	flags.StringVar(&l.list, "finished", "", "file with the polls of finished jobs: result writes it, storm reads it")
	flags.IntVar(&l.callers, "callers", 128, "submits (submit, mixed, storm) or jobs (result) under way at a time")
	flags.IntVar(&l.conns, "connections", 0, "connections; 0: as many as callers, at most 256")
	flags.IntVar(&l.jobs, "jobs", 10000, "how many in all")
	flags.Float64Var(&l.rate, "rate", 0, "arrivals per second, at fixed moments whatever the answers do; 0: closed loop")
	flags.DurationVar(&l.poll, "poll", 10*time.Millisecond, "time between the answer to a poll and the next poll")
	flags.BoolVar(&l.follow, "follow", false, "wait as long as Retry-After says instead")
	flags.IntVar(&l.polls, "polls", 5, "polls per submit (mixed)")
	flags.DurationVar(&l.period, "period", 5*time.Second, "how long the storm lasts; with -rate 0, submits end after it too if -jobs is 0")
	flags.DurationVar(&l.limit, "limit", 120*time.Second, "give up on everything after this time")
	flags.StringVar(&l.marker, "marker", "m", "what the number of a job begins with: tells runs apart")
	flags.Parse(arguments)
	if err := l.prepare(*base, *file, *keys); err != nil {
		fail(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), l.limit)
	defer cancel()
	l.run(ctx)
	if l.mode == "result" && l.list != "" {
		if err := os.WriteFile(l.list, []byte(strings.Join(l.finished.heads, "\x00")), 0o600); err != nil {
			fail(err)
		}
	}
	l.report()
}

func (l *load) prepare(base, file, keys string) error {
	parsed, err := url.Parse(base)
	if err != nil {
		return err
	}
	l.host = parsed.Host
	if keys != "" {
		l.keys = strings.Split(keys, ",")
	}
	if l.mode == "storm" {
		heads, err := os.ReadFile(l.list)
		if err != nil {
			return err
		}
		l.finished.heads = strings.Split(string(heads), "\x00")
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(content, &l.requests); err != nil {
		return err
	}
	for i := range l.requests {
		l.requests[i].pieces = bytes.Split(l.requests[i].Body, []byte("{n}"))
	}
	if l.conns == 0 {
		l.conns = l.callers
		if l.conns > 256 {
			l.conns = 256
		}
	}
	l.client = newClient(l.host, l.conns)
	return nil
}

func (l *load) run(ctx context.Context) {
	l.started = time.Now()
	switch {
	case l.mode == "storm":
		l.storm(ctx)
	case l.mode == "mixed":
		l.closedLoop(ctx, l.mixed)
	case l.rate > 0:
		l.openLoop(ctx)
	default:
		l.closedLoop(ctx, l.toResult)
	}
}

func (l *load) closedLoop(ctx context.Context, one func(context.Context, int64, time.Time)) {
	var group sync.WaitGroup
	for caller := 0; caller < l.callers; caller++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for number := l.next.Add(1); l.wanted(number) && ctx.Err() == nil; number = l.next.Add(1) {
				one(ctx, number, time.Now())
			}
		}()
	}
	group.Wait()
}

func (l *load) wanted(number int64) bool {
	if l.jobs > 0 {
		return number <= int64(l.jobs)
	}
	return time.Since(l.started) < l.period
}

// openLoop begins requests on schedule, and latencies count from the scheduled moment: a server that stalls cannot
// hide behind requests that were never sent.
func (l *load) openLoop(ctx context.Context) {
	var group sync.WaitGroup
	for number := int64(1); number <= int64(l.jobs) && ctx.Err() == nil; number++ {
		due := l.started.Add(time.Duration(float64(number-1) / l.rate * float64(time.Second)))
		time.Sleep(time.Until(due))
		group.Add(1)
		go func(number int64) {
			defer group.Done()
			l.toResult(ctx, number, due)
		}(number)
	}
	group.Wait()
}

func (l *load) storm(ctx context.Context) {
	until := time.Now().Add(l.period)
	var group sync.WaitGroup
	for caller := 0; caller < l.callers; caller++ {
		group.Add(1)
		go func(caller int) {
			defer group.Done()
			for turn := caller; time.Now().Before(until) && ctx.Err() == nil; turn += l.callers {
				l.pollOnce(ctx, l.finished.heads[turn%len(l.finished.heads)])
			}
		}(caller)
	}
	group.Wait()
}

func (l *load) mixed(ctx context.Context, number int64, began time.Time) {
	where, ok := l.submit(ctx, number, began)
	if !ok {
		return
	}
	for poll := 0; poll < l.polls; poll++ {
		l.pollOnce(ctx, l.finished.some(number, where))
	}
	l.finished.add(where)
}

func (l *load) toResult(ctx context.Context, number int64, began time.Time) {
	where, ok := l.submit(ctx, number, began)
	if !ok || l.mode == "submit" {
		return
	}
	pause := l.poll
	for ctx.Err() == nil {
		time.Sleep(pause)
		got, err := l.pollOnce(ctx, where)
		switch {
		case err != nil || got.status == 503 || got.status == 202:
			if pause = l.poll; l.follow && got.retryAfter > 0 {
				pause = got.retryAfter
			}
			continue
		case got.status == 200 && bytes.Contains(got.body, []byte(`"completed"`)):
			l.ended.add(time.Since(began))
			l.finished.add(where)
		default:
			l.refuse(got, nil)
		}
		return
	}
	l.unended.Add(1)
}

func (l *load) submit(ctx context.Context, number int64, began time.Time) (string, bool) {
	asked := &l.requests[int(number)%len(l.requests)]
	marker := []byte(l.marker + "-" + strconv.FormatInt(number, 10))
	body := bytes.Join(asked.pieces, marker)
	key := l.key(number)
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n%s\r\n",
		asked.Path, l.host, asked.Type, len(body), key)
	got, err := l.client.send(ctx, head, body)
	if err != nil || got.status != 202 {
		l.refuse(got, err)
		return "", false
	}
	l.accepted.add(time.Since(began))
	l.lastAccept.Store(int64(time.Since(l.started)))
	var job struct{ ID string }
	if json.Unmarshal(got.body, &job) != nil || job.ID == "" {
		l.refuse(got, nil)
		return "", false
	}
	return fmt.Sprintf("GET %s/%s HTTP/1.1\r\nHost: %s\r\n%s\r\n", asked.Path, job.ID, l.host, key), true
}

func (l *load) key(number int64) string {
	if len(l.keys) == 0 {
		return ""
	}
	return "Authorization: Bearer " + l.keys[int(number)%len(l.keys)] + "\r\n"
}

func (l *load) pollOnce(ctx context.Context, head string) (answer, error) {
	began := time.Now()
	got, err := l.client.send(ctx, head, nil)
	if err == nil {
		l.polled.add(time.Since(began))
	}
	return got, err
}

func (l *load) refuse(got answer, err error) {
	if l.failed.Add(1) == 1 {
		fmt.Fprintf(os.Stderr, "first failure: %d %v %.300s\n", got.status, err, got.body)
	}
}

const remembered = 4096

func (j *jobs) add(head string) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	if len(j.heads) < remembered {
		j.heads = append(j.heads, head)
	}
}

func (j *jobs) some(number int64, otherwise string) string {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	if len(j.heads) == 0 {
		return otherwise
	}
	return j.heads[int(number*7919)%len(j.heads)]
}

func (l *load) report() {
	seconds := time.Since(l.started).Seconds()
	accepting := time.Duration(l.lastAccept.Load()).Seconds() + 1e-9
	accepted, ended, polls := l.accepted.count(), l.ended.count(), l.polled.count()
	printJSON(map[string]any{
		"mode": l.mode, "callers": l.callers, "rate": l.rate, "seconds": seconds, "poll_ms": l.poll.Milliseconds(),
		"accepted": accepted, "ended": ended, "failed": l.failed.Load(), "unended": l.unended.Load(), "polls": polls,
		"accepted_per_s": float64(accepted) / accepting, "jobs_per_s": float64(ended) / seconds,
		"polls_per_s": float64(polls) / seconds,
		"accept_ms":   l.accepted.summary(), "result_ms": l.ended.summary(), "poll_ms_seen": l.polled.summary(),
	})
}
