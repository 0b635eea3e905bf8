package main

const defaultGoImage = "docker.io/library/golang:1.26-bookworm"
