package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// upstream answers like a provider, as the model's name says: latency=100,fail=0.1,size=8,numbers=1536. It counts
// calls, how many there were at a time, and which markers (the first word of an input, m...-N) it has seen before.
type upstream struct {
	mutex    sync.Mutex
	seen     map[uint64]struct{}
	counters counters
}

type counters struct {
	Calls    int64 `json:"calls"`
	Inputs   int64 `json:"inputs"`
	Answered int64 `json:"answered"` // inputs
	Failed   int64 `json:"failed"`   // calls failed on purpose
	Repeated int64 `json:"repeated"` // inputs whose marker had been seen
	Distinct int64 `json:"distinct"`
	Running  int64 `json:"running"`
	Peak     int64 `json:"peak"`
}

type script struct {
	latency time.Duration
	fail    float64
	size    int
	numbers int
}

const maxMarkers = 4_000_000

func runUpstream(arguments []string) {
	flags := flag.NewFlagSet("upstream", flag.ExitOnError)
	port := flags.Int("port", 0, "port on loopback")
	flags.Parse(arguments)
	u := &upstream{seen: map[uint64]struct{}{}}
	mux := http.NewServeMux()
	mux.HandleFunc("/counters", u.count)
	mux.HandleFunc("/reset", u.reset)
	mux.HandleFunc("/", u.answer)
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", *port))
	if err != nil {
		fail(err)
	}
	go http.Serve(listener, mux)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	<-stop
}

func (u *upstream) count(w http.ResponseWriter, _ *http.Request) {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	json.NewEncoder(w).Encode(u.counters)
}

func (u *upstream) reset(w http.ResponseWriter, _ *http.Request) {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	u.seen = map[uint64]struct{}{}
	u.counters = counters{Running: u.counters.Running}
}

func (u *upstream) answer(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	model, inputs := read(body, r.Header.Get("Content-Type"))
	s := parse(model)
	number := u.begin(inputs)
	if s.latency > 0 {
		select {
		case <-time.After(s.latency):
		case <-r.Context().Done():
			u.end(0, false)
			return
		}
	}
	// A low-discrepancy sequence: the share that fails is exact over any stretch, and no two runs of calls look alike.
	if s.fail > 0 && float64(uint64(number)*2654435761%4294967296)/4294967296 < s.fail {
		u.end(0, true)
		write(w, http.StatusBadGateway, "application/json", []byte(`{"error":{"message":"scripted failure","type":"server_error"}}`))
		return
	}
	kind, answer := respond(r.URL.Path, model, inputs, s.size, s.numbers)
	u.end(len(inputs), false)
	write(w, http.StatusOK, kind, answer)
}

func write(w http.ResponseWriter, status int, kind string, body []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body)
}

func (u *upstream) begin(inputs []string) int64 {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	c := &u.counters
	c.Calls++
	c.Inputs += int64(len(inputs))
	c.Running++
	if c.Running > c.Peak {
		c.Peak = c.Running
	}
	for _, input := range inputs {
		word, _, found := strings.Cut(input, " ")
		if !found || !strings.HasPrefix(word, "m") || !strings.Contains(word, "-") {
			continue
		}
		hash := fnv.New64a()
		io.WriteString(hash, word)
		if _, again := u.seen[hash.Sum64()]; again {
			c.Repeated++
		} else if len(u.seen) < maxMarkers {
			u.seen[hash.Sum64()] = struct{}{}
			c.Distinct++
		}
	}
	return c.Calls
}

func (u *upstream) end(answered int, failed bool) {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	u.counters.Running--
	u.counters.Answered += int64(answered)
	if failed {
		u.counters.Failed++
	}
}

// read takes the model and the inputs out of a JSON body; of a form, only the model.
func read(body []byte, kind string) (string, []string) {
	if !strings.HasPrefix(kind, "application/json") {
		if len(body) > 4096 {
			body = body[:4096]
		}
		_, rest, _ := strings.Cut(string(body), `name="model"`)
		fields := strings.Fields(rest)
		if len(fields) == 0 {
			return "", []string{""}
		}
		return fields[0], []string{""}
	}
	var asked struct {
		Model string
		Input any
	}
	json.Unmarshal(body, &asked)
	if list, ok := asked.Input.([]any); ok {
		inputs := make([]string, len(list))
		for i, each := range list {
			inputs[i], _ = each.(string)
		}
		return asked.Model, inputs
	}
	text, _ := asked.Input.(string)
	return asked.Model, []string{text}
}

func parse(model string) script {
	var s script
	for _, part := range strings.Split(model, ",") {
		name, value, _ := strings.Cut(part, "=")
		number, _ := strconv.ParseFloat(value, 64)
		switch name {
		case "latency":
			s.latency = time.Duration(number * float64(time.Millisecond))
		case "fail":
			s.fail = number
		case "size":
			s.size = int(number)
		case "numbers":
			s.numbers = int(number)
		}
	}
	return s
}
