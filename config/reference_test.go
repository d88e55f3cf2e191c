package config_test

import (
	"bytes"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/backscatterd/backscatterd/config"
	"github.com/backscatterd/backscatterd/queuesweep/rule"
)

// docs/configuration.md is what the code says. BACKSCATTERD_WRITE=1 writes it
// anew.
func TestReferenceIsUpToDate(t *testing.T) {
	const path = "../docs/configuration.md"
	var want bytes.Buffer
	if err := config.WriteReference(&want); err != nil {
		t.Fatal(err)
	}
	if os.Getenv("BACKSCATTERD_WRITE") != "" {
		if err := os.WriteFile(path, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("docs/configuration.md is stale: write it with backscatterd config reference > docs/configuration.md")
	}
}

// Every field that a file can set stands in the reference, below its section.
func TestReferenceHasEveryKey(t *testing.T) {
	var b bytes.Buffer
	if err := config.WriteReference(&b); err != nil {
		t.Fatal(err)
	}
	sections := make(map[string]string)
	for _, s := range strings.Split(b.String(), "\n## [")[1:] {
		name, text, _ := strings.Cut(s, "]\n")
		sections[strings.Trim(name, "[]")] = text
	}
	var walk func(section string, of reflect.Type)
	walk = func(section string, of reflect.Type) {
		for i := range of.NumField() {
			field := of.Field(i)
			key := field.Tag.Get("toml")
			switch {
			case key == "" || key == "rule":
			case field.Type.Kind() == reflect.Struct:
				walk(strings.TrimPrefix(section+"."+key, "."), field.Type)
			case !strings.Contains(sections[section], "`"+key+" = "):
				t.Errorf("%s is not below [%s]", key, section)
			}
		}
	}
	walk("", reflect.TypeFor[config.Config]())
	for i := range reflect.TypeFor[rule.Rule]().NumField() {
		key := strings.ToLower(reflect.TypeFor[rule.Rule]().Field(i).Name)
		if !strings.Contains(sections["rule"], "- `"+key+"`") {
			t.Errorf("%s is not below [[rule]]", key)
		}
	}
}
