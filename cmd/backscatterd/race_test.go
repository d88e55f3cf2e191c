//go:build race

package main

// memoryFactor is how much more memory the program takes under the race detector.
const memoryFactor = 8
