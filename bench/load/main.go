// The benchmark's two programs in one binary: `load` submits and polls jobs, `upstream` is what the workers call.
// Both are compiled, so that neither of them is what is measured. Each prints JSON.
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("usage: load run|upstream [flags]"))
	}
	switch os.Args[1] {
	case "run":
		runLoad(os.Args[2:])
	case "upstream":
		runUpstream(os.Args[2:])
	default:
		fail(fmt.Errorf("unknown command %q", os.Args[1]))
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func printJSON(value any) {
	line, err := json.Marshal(value)
	if err != nil {
		fail(err)
	}
	fmt.Println(string(line))
}
