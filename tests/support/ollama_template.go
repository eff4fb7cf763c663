// Renders a Modelfile's TEMPLATE as Ollama does, for tests: the same values under the same names, tools read into
// records that know only some of JSON Schema, consecutive messages of a role joined. Standard library alone.
//
// Reads {"template": "...", "cases": [{"messages": [...], "tools": [...]}]}, writes {"tag": "...", "texts": [...]}.
package main

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"
)

type arguments map[string]any

func (a arguments) String() string { return spell(a) }

type call struct {
	ID       string `json:"id"`
	Function struct {
		Name      string    `json:"name"`
		Arguments arguments `json:"arguments"`
	} `json:"function"`
}

type message struct {
	Role       string `json:"role"`
	Content    string `json:"content"`
	ToolCalls  []call `json:"tool_calls"`
	ToolCallID string `json:"tool_call_id"`
}

type property struct {
	Type        any    `json:"type,omitempty"`
	Description string `json:"description,omitempty"`
}

type tool struct {
	Type     string `json:"type"`
	Function struct {
		Name        string `json:"name"`
		Description string `json:"description"`
		Parameters  struct {
			Type       string              `json:"type"`
			Required   []string            `json:"required,omitempty"`
			Properties map[string]property `json:"properties"`
		} `json:"parameters"`
	} `json:"function"`
}

type input struct {
	Template string `json:"template"`
	Cases    []struct {
		Messages []message `json:"messages"`
		Tools    []tool    `json:"tools"`
	} `json:"cases"`
}

func spell(value any) string {
	text, _ := json.Marshal(value)
	return string(text)
}

// collate joins neighbours of one role, tools excepted, and gathers what the system says.
func collate(all []message) (string, []*message) {
	var system []string
	var joined []*message
	for i := range all {
		if all[i].Role == "system" {
			system = append(system, all[i].Content)
		}
		if last := len(joined) - 1; last >= 0 && joined[last].Role == all[i].Role && all[i].Role != "tool" {
			joined[last].Content += "\n\n" + all[i].Content
		} else {
			joined = append(joined, &all[i])
		}
	}
	return strings.Join(system, "\n\n"), joined
}

// mark finds by what Ollama knows a tool call in the model's text: the first text in the first `if .ToolCalls`.
func mark(nodes []parse.Node, inside bool) (string, bool) {
	for _, node := range nodes {
		var branch *parse.BranchNode
		within := inside
		switch found := node.(type) {
		case *parse.TextNode:
			if inside {
				return strings.Split(strings.TrimSpace(string(found.Text)), "{")[0], true
			}
		case *parse.ActionNode:
			if inside && len(found.Pipe.Decl) == 0 {
				return "", true
			}
		case *parse.IfNode:
			branch = &found.BranchNode
			for _, command := range found.Pipe.Cmds {
				for _, argument := range command.Args {
					if strings.HasSuffix(argument.String(), ".ToolCalls") {
						within = true
					}
				}
			}
		case *parse.RangeNode:
			branch = &found.BranchNode
		case *parse.WithNode:
			branch = &found.BranchNode
		}
		if branch == nil {
			continue
		}
		for _, list := range []*parse.ListNode{branch.List, branch.ElseList} {
			if list != nil {
				if text, done := mark(list.Nodes, within); done {
					return text, true
				}
			}
		}
	}
	return "", false
}

func check(problem error) {
	if problem != nil {
		os.Stderr.WriteString(problem.Error() + "\n")
		os.Exit(1)
	}
}

func main() {
	var given input
	check(json.NewDecoder(os.Stdin).Decode(&given))
	functions := template.FuncMap{"json": spell}
	parsed, problem := template.New("").Option("missingkey=zero").Funcs(functions).Parse(given.Template)
	check(problem)
	texts := []string{}
	for _, one := range given.Cases {
		system, messages := collate(slices.Clone(one.Messages))
		var text strings.Builder
		values := map[string]any{"System": system, "Messages": messages, "Tools": one.Tools, "Response": ""}
		check(parsed.Execute(&text, values))
		texts = append(texts, text.String())
	}
	tag, _ := mark(parsed.Tree.Root.Nodes, false)
	check(json.NewEncoder(os.Stdout).Encode(map[string]any{"tag": tag, "texts": texts}))
}
