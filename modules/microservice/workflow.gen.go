package main

const workflow = "x\n"
