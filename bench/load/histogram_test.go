package main

import (
	"testing"
	"time"
)

func TestABucketHoldsWhatFallsIntoIt(t *testing.T) {
	for micros := int64(0); micros < 1<<33; micros = micros*9/8 + 1 {
		bucket := bucketOf(micros)
		if highest := highestIn(bucket); highest < micros || float64(highest-micros) > float64(micros)/perOctave+1 {
			t.Fatalf("%d us fell into bucket %d, which ends at %d", micros, bucket, highest)
		}
		if next := bucketOf(highestIn(bucket) + 1); next != bucket+1 && bucket != octaves*perOctave-1 {
			t.Fatalf("after bucket %d comes %d", bucket, next)
		}
	}
}

func TestPercentilesAreWithinAFiveHundredthOfTheTruth(t *testing.T) {
	var h histogram
	for i := 1; i <= 100000; i++ {
		h.add(time.Duration(i) * 10 * time.Microsecond)
	}
	for share, wanted := range map[float64]float64{0.5: 500, 0.99: 990, 0.999: 999, 1: 1000} {
		if got := h.at(share); got < wanted*0.998 || got > wanted*1.002 {
			t.Errorf("at %v: %v ms, wanted %v", share, got, wanted)
		}
	}
}
