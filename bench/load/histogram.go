package main

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// histogram counts durations in buckets that are at most 1/512 wide relative to their value, from a microsecond to
// more than an hour, in fixed memory and without a lock: what HDR histograms do.
type histogram struct {
	buckets [octaves * perOctave]atomic.Int64
	longest atomic.Int64 // microseconds
}

const (
	halfBits  = 9
	perOctave = 1 << halfBits
	octaves   = 34 - halfBits
)

// bucketOf keeps the ten leading bits of a number of microseconds.
func bucketOf(micros int64) int {
	if micros < 2*perOctave {
		if micros < 0 {
			return 0
		}
		return int(micros)
	}
	shift := bits.Len64(uint64(micros)) - halfBits - 1
	bucket := (shift+1)*perOctave + int(micros>>shift) - perOctave
	if bucket >= octaves*perOctave {
		return octaves*perOctave - 1
	}
	return bucket
}

// highestIn is the largest number of microseconds that falls into a bucket.
func highestIn(bucket int) int64 {
	if bucket < 2*perOctave {
		return int64(bucket)
	}
	shift := bucket/perOctave - 1
	return (int64(bucket%perOctave)+perOctave+1)<<shift - 1
}

func (h *histogram) add(value time.Duration) {
	micros := value.Microseconds()
	h.buckets[bucketOf(micros)].Add(1)
	for {
		longest := h.longest.Load()
		if micros <= longest || h.longest.CompareAndSwap(longest, micros) {
			return
		}
	}
}

func (h *histogram) count() int64 {
	var total int64
	for i := range h.buckets {
		total += h.buckets[i].Load()
	}
	return total
}

// at is the value in milliseconds that this share of all values does not exceed.
func (h *histogram) at(share float64) float64 {
	rank := int64(share*float64(h.count()) + 0.5)
	if rank < 1 {
		rank = 1
	}
	var seen int64
	for i := range h.buckets {
		if seen += h.buckets[i].Load(); seen >= rank {
			if longest := h.longest.Load(); longest < highestIn(i) {
				return float64(longest) / 1000
			}
			return float64(highestIn(i)) / 1000
		}
	}
	return 0
}

func (h *histogram) summary() map[string]float64 {
	return map[string]float64{
		"p10": h.at(0.1), "p25": h.at(0.25), "p50": h.at(0.5), "p75": h.at(0.75), "p90": h.at(0.9), "p95": h.at(0.95),
		"p99": h.at(0.99), "p999": h.at(0.999), "max": h.at(1),
	}
}
