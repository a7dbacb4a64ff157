package main

import (
	"fmt"
	"math/rand"
	"strings"
	"sync"
)

// respond makes the answer of one endpoint: just enough fields that a client takes it for one.
func respond(path, model string, inputs []string, size, numbers int) (string, []byte) {
	if size == 0 {
		size = 16
	}
	text := strings.Repeat("x", size)
	switch path = strings.TrimPrefix(path, "/v1"); {
	case path == "/embeddings":
		return "application/json", embeddings(model, inputs, vector(size/2, numbers))
	case path == "/chat/completions":
		return object(`{"id":"c","object":"chat.completion","created":1,"model":%q,"choices":[{"index":0,"message":`+
			`{"role":"assistant","content":%q},"finish_reason":"stop"}],`+usage+`}`, model, text)
	case path == "/completions":
		return object(`{"id":"c","object":"text_completion","created":1,"model":%q,"choices":[{"index":0,"text":%q,`+
			`"finish_reason":"stop"}],`+usage+`}`, model, text)
	case path == "/responses":
		return object(`{"id":"r","object":"response","created_at":1,"status":"completed","model":%q,"output":[{"id":"o",`+
			`"type":"message","role":"assistant","status":"completed","content":[{"type":"output_text","text":%q,`+
			`"annotations":[]}]}],"usage":{"input_tokens":2,"output_tokens":2,"total_tokens":4}}`, model, text)
	case path == "/audio/speech":
		return "audio/wav", []byte(text)
	case strings.HasPrefix(path, "/audio/"):
		return object(`{"text":%q}`, text)
	case strings.HasPrefix(path, "/images/"):
		return object(`{"created":1,"data":[{"b64_json":%q}]}`, text)
	case path == "/rerank":
		return object(`{"id":"r","model":%q,"results":[{"index":0,"relevance_score":0.5}],`+usage+`}`, model)
	default:
		return object(`{"id":"o","model":%q,"pages":[{"index":0,"markdown":%q}],"usage_info":{"pages_processed":1}}`, model, text)
	}
}

const usage = `"usage":{"prompt_tokens":2,"completion_tokens":0,"total_tokens":2}`

func object(format string, values ...any) (string, []byte) {
	return "application/json", []byte(fmt.Sprintf(format, values...))
}

// embeddings has the same vector for every input.
func embeddings(model string, inputs []string, vector string) []byte {
	var out strings.Builder
	out.Grow(len(inputs)*(len(vector)+64) + 256)
	fmt.Fprintf(&out, `{"object":"list","model":%q,"data":[`, model)
	for i := range inputs {
		if i > 0 {
			out.WriteByte(',')
		}
		fmt.Fprintf(&out, `{"object":"embedding","index":%d,"embedding":[%s]}`, i, vector)
	}
	fmt.Fprintf(&out, `],"usage":{"prompt_tokens":%d,"total_tokens":%d}}`, 2*len(inputs), 2*len(inputs))
	return []byte(out.String())
}

// vector has as many `numbers` as a model says, with all their digits; else `size` short ones, 8 unless told otherwise.
func vector(size, numbers int) string {
	if numbers > 0 {
		first := rand.Intn(drawnNumbers - numbers)
		return drawn()[first*numberBytes : (first+numbers)*numberBytes-1]
	}
	if size == 0 {
		size = 8
	}
	return strings.TrimSuffix(strings.Repeat("0.125,", size), ",")
}

const (
	drawnNumbers = 1 << 16 // more than any model gives
	numberBytes  = 21      // of a double, comma included
)

var (
	drawing sync.Once
	numbers string
)

// drawn are numbers that a database can hardly compress. Vectors are cut out of them: making one takes too long.
func drawn() string {
	drawing.Do(func() {
		var out strings.Builder
		for i := 0; i < drawnNumbers; i++ {
			fmt.Fprintf(&out, "-0.0%016d,", rand.Int63n(10_000_000_000_000_000))
		}
		numbers = out.String()
	})
	return numbers
}
