//go:build tools

// Package jaeger pins what keeps the traces of the check.
package jaeger

import _ "github.com/jaegertracing/jaeger/cmd/jaeger"
