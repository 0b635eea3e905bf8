package main

import (
	"slices"

	"github.com/hashicorp/vault/builtin/logical/transit"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/vault/plugincatalog"
)

// engines are the secrets engines that this Vault has.
type engines map[string]logical.Factory

var _ plugincatalog.BuiltinRegistry = engines{}

func builtin() engines { return engines{"transit": transit.Factory} }

// Get implements plugincatalog.BuiltinRegistry.
func (e engines) Get(name string, of consts.PluginType) (func() (any, error), bool) {
	factory, ok := e[name]
	return func() (any, error) { return factory, nil }, ok && of == consts.PluginTypeSecrets
}

// Contains implements plugincatalog.BuiltinRegistry.
func (e engines) Contains(name string, of consts.PluginType) bool {
	_, ok := e.Get(name, of)
	return ok
}

// Keys implements plugincatalog.BuiltinRegistry.
func (e engines) Keys(of consts.PluginType) []string {
	var names []string
	for name := range e {
		if e.Contains(name, of) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// DeprecationStatus implements plugincatalog.BuiltinRegistry.
func (e engines) DeprecationStatus(name string, of consts.PluginType) (consts.DeprecationStatus, bool) {
	if e.Contains(name, of) {
		return consts.Supported, true
	}
	return consts.Unknown, false
}

// IsBuiltinEntPlugin implements plugincatalog.BuiltinRegistry.
func (engines) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }
