// Load generator of the benchmark: submits jobs, polls for results, and prints one JSON object with rates and percentiles.
//
// Closed loop (-rate 0): -callers requests are always under way. Open loop (-rate N): requests begin on a fixed
// schedule whatever the answers do, and latencies count from the scheduled moment, so that a stalled server cannot
// hide behind requests that were never sent.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

type options struct {
	url, path, body, mode string
	callers, jobs         int
	rate                  float64
	poll, limit           time.Duration
}

// series collects latencies; percentiles are exact.
type series struct {
	mutex  sync.Mutex
	values []time.Duration
}

func (s *series) add(value time.Duration) {
	s.mutex.Lock()
	s.values = append(s.values, value)
	s.mutex.Unlock()
}

func (s *series) summary() map[string]float64 {
	sort.Slice(s.values, func(i, j int) bool { return s.values[i] < s.values[j] })
	at := func(share float64) float64 {
		if len(s.values) == 0 {
			return 0
		}
		return float64(s.values[int(share*float64(len(s.values)-1))].Microseconds()) / 1000
	}
	return map[string]float64{"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999), "max": at(1)}
}

type run struct {
	options
	client          *http.Client
	accepted, ended series
	failed, polls   atomic.Int64
	lastAccept      atomic.Int64
	started         time.Time
}

func main() {
	var o options
	flag.StringVar(&o.url, "url", "http://127.0.0.1:8080", "where the API answers")
	flag.StringVar(&o.path, "path", "/v1/async/embeddings", "endpoint")
	flag.StringVar(&o.body, "body", `{"model":"scripted/ok","input":"the cat sat"}`, "request body")
	flag.StringVar(&o.mode, "mode", "submit", "submit: stop at the 202; result: poll until the job ended; get: GET the path")
	flag.IntVar(&o.callers, "callers", 128, "requests (submit, get) or jobs (result) under way at a time")
	flag.IntVar(&o.jobs, "jobs", 10000, "how many in all")
	flag.Float64Var(&o.rate, "rate", 0, "arrivals per second; 0: closed loop")
	flag.DurationVar(&o.poll, "poll", 10*time.Millisecond, "time between polls of one job")
	flag.DurationVar(&o.limit, "limit", 120*time.Second, "give up on everything after this time")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), o.limit)
	defer cancel()
	r := &run{options: o, client: client(o.callers)}
	r.started = time.Now()
	if o.rate > 0 {
		r.openLoop(ctx)
	} else {
		r.closedLoop(ctx)
	}
	r.report()
}

func client(connections int) *http.Client {
	if connections > 512 {
		connections = 512
	}
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	return &http.Client{Transport: &http.Transport{
		DialContext:         dialer.DialContext,
		MaxConnsPerHost:     connections,
		MaxIdleConnsPerHost: connections,
		DisableCompression:  true,
	}}
}

func (r *run) closedLoop(ctx context.Context) {
	var next atomic.Int64
	var group sync.WaitGroup
	for caller := 0; caller < r.callers; caller++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for next.Add(1) <= int64(r.jobs) && ctx.Err() == nil {
				r.one(ctx, time.Now())
			}
		}()
	}
	group.Wait()
}

func (r *run) openLoop(ctx context.Context) {
	var group sync.WaitGroup
	for number := 0; number < r.jobs && ctx.Err() == nil; number++ {
		due := r.started.Add(time.Duration(float64(number) / r.rate * float64(time.Second)))
		time.Sleep(time.Until(due))
		group.Add(1)
		go func() {
			defer group.Done()
			r.one(ctx, due)
		}()
	}
	group.Wait()
}

func (r *run) one(ctx context.Context, began time.Time) {
	method, expected := http.MethodPost, http.StatusAccepted
	if r.mode == "get" {
		method, expected = http.MethodGet, http.StatusOK
	}
	status, answer, err := r.send(ctx, method, r.url+r.path, []byte(r.body))
	if err != nil || status != expected {
		if r.failed.Add(1) == 1 {
			fmt.Fprintln(os.Stderr, "first failure:", status, err, string(answer))
		}
		return
	}
	r.accepted.add(time.Since(began))
	r.lastAccept.Store(int64(time.Since(r.started)))
	if r.mode != "result" {
		return
	}
	var job struct{ ID string }
	if json.Unmarshal(answer, &job) != nil || job.ID == "" {
		r.failed.Add(1)
		return
	}
	r.collect(ctx, began, r.url+r.path+"/"+job.ID)
}

func (r *run) collect(ctx context.Context, began time.Time, where string) {
	for ctx.Err() == nil {
		time.Sleep(r.poll)
		r.polls.Add(1)
		status, answer, err := r.send(ctx, http.MethodGet, where, nil)
		if err != nil || status == http.StatusServiceUnavailable || status == http.StatusAccepted {
			continue
		}
		if status != http.StatusOK || !bytes.Contains(answer, []byte(`"completed"`)) {
			r.failed.Add(1)
			return
		}
		r.ended.add(time.Since(began))
		return
	}
	r.failed.Add(1)
}

func (r *run) send(ctx context.Context, method, where string, body []byte) (int, []byte, error) {
	var reader io.Reader
	if method == http.MethodPost {
		reader = bytes.NewReader(body)
	}
	request, err := http.NewRequestWithContext(ctx, method, where, reader)
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := r.client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	return response.StatusCode, answer, err
}

func (r *run) report() {
	seconds := time.Since(r.started).Seconds()
	accepting := time.Duration(r.lastAccept.Load()).Seconds()
	out := map[string]any{
		"mode": r.mode, "callers": r.callers, "rate": r.rate, "seconds": seconds,
		"accepted": len(r.accepted.values), "ended": len(r.ended.values), "failed": r.failed.Load(),
		"accepted_per_s": float64(len(r.accepted.values)) / max(accepting, 1e-9), "jobs_per_s": float64(len(r.ended.values)) / seconds,
		"polls": r.polls.Load(), "accept_ms": r.accepted.summary(), "result_ms": r.ended.summary(),
	}
	line, err := json.Marshal(out)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(string(line))
}
