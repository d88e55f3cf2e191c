package status

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
)

//go:embed page.html
var pageText string

func (b *Board) page(w http.ResponseWriter, _ *http.Request) {
	var out bytes.Buffer
	if err := b.layout.Execute(&out, b.view()); err != nil {
		b.opts.Log.Error("status page", "error", err)
		http.Error(w, "the page could not be made; the log says why", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write(out.Bytes())
}

// pageLayout is the page's template. It is part of the program, and every test
// reads it.
func pageLayout() *template.Template { return template.Must(template.New("page").Parse(pageText)) }
