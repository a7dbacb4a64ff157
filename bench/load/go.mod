module coatcheck/bench/load

go 1.19
