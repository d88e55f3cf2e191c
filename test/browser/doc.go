// Package browser looks at the status page with real browsers: the program
// serves a queue of its own, and Chromium and w3m show it. Its tests have the
// build tag browser, since Chromium is a large thing to install; "make browser"
// installs it and runs them.
package browser
