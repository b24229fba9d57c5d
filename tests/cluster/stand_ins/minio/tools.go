//go:build tools

// Package minio pins the blob store of the check.
package minio

import _ "github.com/minio/minio"
