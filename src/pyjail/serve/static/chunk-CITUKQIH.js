var h="pyjail.token";var m=class extends Error{constructor(r,n,s="",i="",o=0){super(n);this.status=r;this.detail=n;this.field=s;this.hint=i;this.retry=o}status;detail;field;hint;retry;words(){let r=this.field?`${this.field}: `:"",n=(this.hint?` ${this.hint}`:"")+(this.retry?` Try again in ${this.retry} s.`:"");return`${r}${this.detail}${n} (${this.status})`}},k=()=>sessionStorage.getItem(h)??"",H=t=>t?sessionStorage.setItem(h,t):sessionStorage.removeItem(h);async function u(t,e={}){let r={...e.headers};k()&&(r.Authorization=`Bearer ${k()}`);let n=await fetch(t,{...e,headers:r,credentials:"omit",redirect:"error",cache:"no-store"});if(n.ok)return n;let s={};try{s=await n.json()}catch{}let i=o=>typeof s[o]=="string"?s[o]:"";throw new m(n.status,i("detail")||i("title")||n.statusText||"refused",i("field"),i("hint"),Number(n.headers.get("Retry-After"))||0)}async function _(){let t=await(await u("v1/languages")).json(),e=Array.isArray(t)?t:t.languages??t;return(Array.isArray(e)?e:Object.entries(e).map(([n,s])=>({name:n,...s}))).map(n=>({name:String(n.name),title:String(n.title??n.name),available:n.available!==!1,reason:String(n.reason??n.why??n.missing??""),version:String(n.version??"")}))}async function M(){let t=await(await u("v1/limits")).json();return{defaults:t.defaults??t.limits??{},maxima:t.maxima??{}}}async function N(t){let r=await u("v1/runs?receipt=true",{method:"POST",headers:{"Content-Type":"application/json",Prefer:"respond-async"},body:JSON.stringify(t)}),n=await r.json();return n.id||(n.id=(r.headers.get("Location")??"").split("/").pop()||void 0),n}async function I(t){return await(await u(`v1/runs/${encodeURIComponent(t)}?output=false`,{method:"DELETE"})).json()}async function O(t,e){return await(await u(`v1/runs/${encodeURIComponent(t)}?receipt=true&output=${e}`)).json()}var y=class{last="";id="";rest=[];kind="";data=[];*feed(e){let r=e.split(`
`),n=r.pop(),s=r.map((i,o)=>(o?i:this.rest.join("")+i).replace(/\r$/,""));r.length&&(this.rest=[]),n&&this.rest.push(n);for(let i of s){if(i===""){if(this.id&&(this.last=this.id),this.data.length){let d=null;try{d=JSON.parse(this.data.join(`
`))}catch{}d&&typeof d=="object"&&(yield{kind:this.kind||"message",data:d})}this.kind="",this.data=[];continue}let o=i.indexOf(":"),a=o<0?i:i.slice(0,o),c=o<0?"":i.slice(i[o+1]===" "?o+2:o+1);a==="event"?this.kind=c:a==="data"?this.data.push(c):a==="id"&&(this.id=c)}}},v=t=>new Promise(e=>{setTimeout(e,t)});async function U(t,e,r){let n=0,s="",i=!1;for(;!i&&!r.aborted;){let o=new y;o.last=s;try{let a={Accept:"text/event-stream"};s&&(a["Last-Event-ID"]=s);let c=await u(`v1/runs/${encodeURIComponent(t)}/events?receipt=true&output=false`,{headers:a,signal:r});if(c.status===204)return;let d=c.body.pipeThrough(new TextDecoderStream).getReader(),b=performance.now();for(;;){let{done:R,value:L}=await d.read();if(R)break;n=0;for(let w of o.feed(L))e(w),w.kind==="result"&&(i=!0),performance.now()-b>8&&(await v(0),b=performance.now());s=o.last}}catch(a){if(r.aborted)return;if(a instanceof m&&a.status<500&&a.status!==429||(n+=1)>8)throw a}!i&&!r.aborted&&await v(Math.min(250*2**n,5e3))}}function $(t){let e=atob(t),r=new Uint8Array(e.length);for(let n=0;n<e.length;n++)r[n]=e.charCodeAt(n);return r}function B(t){if(t==null)return new Uint8Array;if(typeof t=="string")return new TextEncoder().encode(t);let e=t.base64;return e!==void 0?$(e):new TextEncoder().encode(t.bytes??t.text??"")}function f(t,e={},...r){let n=document.createElement(t);for(let[s,i]of Object.entries(e))i===void 0||i===!1||(typeof i=="function"?n.addEventListener(s.slice(2),i):s==="class"?n.className=String(i):n.setAttribute(s,i===!0?"":String(i)));for(let s of r)s&&n.append(s);return n}function p(t){return document.getElementById(t)}function D(t,e,r,n){let s=t.contains(document.activeElement);t.replaceChildren(...e.map(i=>f("button",{role:"tab","aria-selected":String(i.id===r),tabindex:i.id===r?0:-1,"aria-controls":i.panel,title:i.title,"data-tab":i.id,onclick:()=>n(i.id)},i.label))),t.onkeydown=i=>{let o={ArrowRight:1,ArrowLeft:-1}[i.key];if(!o)return;i.preventDefault();let a=e.findIndex(c=>c.id===r);n(e[(a+o+e.length)%e.length].id)},s&&t.querySelector("[aria-selected=true]")?.focus()}function K(t,e="note"){let r=p("notices"),n=f("div",{"data-kind":e},f("p",{},t),f("button",{onclick:()=>n.remove()},"Dismiss"));for(let s of[...r.children])s.firstChild?.textContent===t&&s.remove();for(r.append(n);r.children.length>3;)r.firstChild.remove()}function J(t,...e){let r=p("dialog");return p("dialog-title").textContent=t,p("dialog-body").replaceChildren(...e),p("dialog-close").onclick=()=>r.close(),r.open||r.showModal(),r}async function F(t,e){let r=e.textContent;try{await navigator.clipboard.writeText(t),e.textContent="Copied"}catch{e.textContent="Select and copy it by hand"}setTimeout(()=>{e.textContent=r},2e3)}function z(){return document.querySelector("link[nonce]")?.nonce??""}var P=/[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e0fff}]/gu;function E(t,e=120){let r=t.replace(P,n=>`⟨U+${n.codePointAt(0).toString(16).toUpperCase().padStart(4,"0")}⟩`);return r.length>e?r.slice(0,e)+"…":r}function W(t){return t.length>0&&t.length<=200&&E(t,999)===t&&!t.startsWith("/")&&t.split("/").every(e=>e!==""&&e!=="."&&e!=="..")}function Y(t){return E(t.split("/").pop()||"file").replace(/[\\/:*?"<>|]/g,"_")}var T=["B","KiB","MiB","GiB","TiB"];function X(t){let e=0;for(;t>=1024&&e<T.length-1;)t/=1024,e+=1;return`${e&&t<10?Number(t.toFixed(1)):Math.round(t)} ${T[e]}`}function Q(t){return t<.9995?`${Math.round(t*1e3)} ms`:`${Number(t.toFixed(t<10?2:1))} s`}var x={python:"main.py",c:"main.c",cpp:"main.cpp",rust:"main.rs",go:"main.go",java:"Main.java",kotlin:"main.kt",javascript:"main.js",typescript:"main.ts",csharp:"main.cs",ruby:"main.rb",perl:"main.pl",php:"main.php",bash:"main.sh"},A={python:`print("Hello from Python")
`,c:`#include <stdio.h>

int main(void) {
    puts("Hello from C");
}
`,cpp:`#include <iostream>

int main() {
    std::cout << "Hello from C++\\n";
}
`,rust:`fn main() {
    println!("Hello from Rust");
}
`,go:`package main

import "fmt"

func main() {
	fmt.Println("Hello from Go")
}
`,java:`public class Main {
    public static void main(String[] args) {
        System.out.println("Hello from Java");
    }
}
`,kotlin:`fun main() {
    println("Hello from Kotlin")
}
`,javascript:`console.log("Hello from JavaScript");
`,typescript:'const whence: string = "TypeScript";\nconsole.log(`Hello from ${whence}`);\n',csharp:`using System;

class Program {
    static void Main() {
        Console.WriteLine("Hello from C#");
    }
}
`,ruby:`puts "Hello from Ruby"
`,perl:`print "Hello from Perl\\n";
`,php:`<?php
echo "Hello from PHP\\n";
`,bash:`echo "Hello from Bash"
`},l=t=>t.replace(/^\n/,""),Z=[{id:"stdin",title:"Reads its input",language:"python",stdin:`3
4
5
`,text:l(`
import sys

numbers = [int(line) for line in sys.stdin]
print("sum", sum(numbers))
print("to the other stream", file=sys.stderr)
`)},{id:"colours",title:"Colours",language:"python",text:l(`
for n, name in enumerate("black red green yellow blue magenta cyan white".split()):
    print(f"\\x1b[3{n}m{name:8}\\x1b[0m \\x1b[1;3{n}mbold\\x1b[0m \\x1b[4{n}mbehind\\x1b[0m")
print("".join(f"\\x1b[38;5;{n}m#" for n in range(16, 76)) + "\\x1b[0m")
`)},{id:"progress",title:"Progress bar",language:"python",text:l(`
import time

for n in range(31):
    print(f"\\r[{'#' * n}{'.' * (30 - n)}] {n * 100 // 30:3} %", end="", flush=True)
    time.sleep(0.05)
print("\\ndone")
`)},{id:"files",title:"Writes files",language:"python",collect:"*.csv",text:l(`
with open("squares.csv", "w") as f:
    for n in range(10):
        f.write(f"{n},{n * n}\\n")
print("squares.csv is written")
`)},{id:"compile",title:"Compile error",language:"c",text:`#include <stdio.h>

int main(void) {
    puts("no semicolon")
}
`}],tt=[{id:"fork",title:"Fork bomb",language:"python",text:l(`
import os
import time

children = 0
try:
    while True:
        if os.fork() == 0:
            time.sleep(60)
        children += 1
except OSError as e:
    print(children, "children, then:", e)
`),expected:{verdicts:["ok","runtime_error"],rows:["processes"],control:"The cgroup counts processes, and the kernel refuses the next one. With the jail, all children end."}},{id:"memory",title:"Memory eater",language:"python",text:l(`
kept = []
while True:
    kept.append(bytearray(8 << 20))
    print(len(kept) * 8, "MiB", flush=True)
`),limits:{memory:"64"},expected:{verdicts:["memory"],rows:["memory"],control:"The cgroup of the run holds all its memory, swap too; beyond that the kernel kills it."}},{id:"output",title:"Endless output",language:"python",text:l(`
while True:
    print("all work and no play " * 40)
`),expected:{verdicts:["output"],rows:["output"],control:"Output is counted while it is read; beyond the limit the program is killed."}},{id:"disk",title:"Disk filler",language:"python",text:l(`
size = 0
try:
    with open("big", "wb", buffering=0) as f:
        while True:
            size += f.write(bytes(1 << 20))
except OSError as e:
    print(size >> 20, "MiB, then:", e)
`),limits:{disk:"16"},expected:{verdicts:["ok"],rows:["disk"],control:"What can be written to is a tmpfs of that size, which is gone with the jail."}},{id:"sleep",title:"Sleeps for ever",language:"python",text:l(`
import time

print("waiting", flush=True)
time.sleep(1_000_000)
`),limits:{wall_time:"2"},expected:{verdicts:["wall_time"],rows:["wall_time"],control:"A timer outside the jail, by a clock that nobody sets."}},{id:"busy",title:"Burns CPU",language:"python",text:l(`
while True:
    pass
`),limits:{cpu_time:"1"},expected:{verdicts:["cpu_time"],rows:["cpu_time"],control:"The CPU time of all its processes is measured by the kernel, and it is killed at its limit."}},{id:"shadow",title:"Reads /etc/shadow",language:"python",text:l(`
for path in ("/etc/shadow", "/root", "/home", "/proc/1/environ"):
    try:
        print(path, open(path).read() if path[1] in "ep" else __import__("os").listdir(path))
    except OSError as e:
        print(path, "->", e)
`),expected:{verdicts:["ok"],rows:["root","view system","landlock"],control:"The file is not there: the jail has a mount namespace and a root of its own."}},{id:"network",title:"Connects to the network",language:"python",text:l(`
import socket

for address in (("192.0.2.1", 80), ("127.0.0.1", 8000)):
    try:
        socket.create_connection(address, timeout=2)
        print(address, "connected")
    except OSError as e:
        print(address, "->", e)
`),expected:{verdicts:["ok"],rows:["namespace net"],control:"A network namespace of its own, with no interface in it."}},{id:"parent",title:"Kills its parent",language:"python",text:l(`
import os
import signal

print("I am", os.getpid(), "and my parent is", os.getppid())
for pid in {os.getppid(), 1, -1} - {0}:
    try:
        os.kill(pid, signal.SIGKILL)
        print(pid, "was sent SIGKILL")
    except OSError as e:
        print(pid, "->", e)
print("still here")
`),expected:{verdicts:["ok","signaled","runtime_error"],rows:["namespace pid"],control:"A PID namespace of its own: no process outside has a number that it could name."}},{id:"symlink",title:"Symlink out of the jail",language:"python",collect:"*.txt",text:l(`
import os

os.symlink("/etc/passwd", "passwd.txt")
os.symlink("../../../../etc/shadow", "shadow.txt")
print("links are made; what comes back?")
`),expected:{verdicts:["ok"],rows:["root"],control:"Files are brought back without following links: none of these comes."}},{id:"injection",title:"Terminal and HTML injection",language:"python",text:l(`
print("\\x1b]0;your title is mine\\x07\\x1b]52;c;cm0gLXJmIC8=\\x07title and clipboard")
print("\\x1b[2J\\x1b[H\\x1b[?1049h\\x1bcscreen")
print("\\x1b]8;;https://example.com\\x1b\\\\link\\x1b]8;;\\x1b\\\\")
print("<img src=x onerror=alert(1)><script>alert(2)<\/script>")
print("safe \\u202etxt.exe")
`),expected:{verdicts:["ok"],rows:[],control:"Not the jail's matter: the page strips all sequences but colours, and output is never markup."}}];function C(t){return{language:t.language,files:[{name:x[t.language]??"main.txt",text:t.text}],stdin:t.stdin??"",args:"",collect:t.collect??"",limits:t.limits??{}}}function et(t){return C({id:"hello",title:"",language:t,text:A[t]??""})}function it(t,e){let[r,...n]=t.files,s={language:t.language,source:r.name===x[t.language]?r.text:{[r.name]:r.text}};n.length&&(s.files=Object.fromEntries(n.map(a=>[a.name,a.text])));let i=j(t.args),o=j(t.collect);return t.language==="python"&&(s.env={PYTHONUNBUFFERED:"1"}),i.length&&(s.args=i),t.stdin&&(s.stdin=t.stdin),o.length&&(s.collect=o),Object.keys(e).length&&(s.limits=e),s}function j(t){let e=[];if(t.replace(/\s*((?:[^\s"'\\]|\\[^]|'[^']*'|"(?:[^"\\]|\\[^])*")+)/g,(n,s)=>(e.push(s.replace(/'([^']*)'|"((?:[^"\\]|\\[^])*)"|\\([^])/g,(i,o,a,c)=>o??(a!==void 0?a.replace(/\\(["\\$`])/g,"$1"):c))),"")).trim())throw new RangeError("a quotation mark has no partner");return e}var S=t=>`'${t.replaceAll("'","'\\''")}'`;function st(t,e,r){let n=[`curl -sS ${S(t)}`,"-H 'Content-Type: application/json'"];return r&&n.push('-H "Authorization: Bearer $PYJAIL_TOKEN"'),n.push(`--data-binary ${S(JSON.stringify(e))}`),n.join(` \\
  `)}function g(t,e="    "){if(typeof t=="string")return JSON.stringify(t).replace(/[\u007f-\u009f\ud800-\udfff\u2028\u2029]/g,r=>{let n=r.charCodeAt(0);return n>=55296&&n<=57343?r:`\\u${n.toString(16).padStart(4,"0")}`});if(t==null)return"None";if(typeof t=="boolean")return t?"True":"False";if(Array.isArray(t))return`[${t.map(r=>g(r,e)).join(", ")}]`;if(typeof t=="object"){let r=e+"    ";return`{
${Object.entries(t).map(([s,i])=>`${r}${g(s)}: ${g(i,r)},
`).join("")}${e}}`}return String(t)}function ot(t,e,r){let n=r?', "Authorization": "Bearer " + os.environ["PYJAIL_TOKEN"]':"";return`import json
${r?`import os
`:""}import urllib.request

wanted = ${g(e,"")}
request = urllib.request.Request(
    ${g(t)},
    data=json.dumps(wanted).encode(),
    headers={"Content-Type": "application/json"${n}},
)
told = json.load(urllib.request.urlopen(request))
result = told["result"] or told["compile"]
print(result["verdict"])
print(result["stdout"].get("bytes"), end="")
`}export{m as a,k as b,H as c,_ as d,M as e,N as f,I as g,O as h,U as i,$ as j,B as k,f as l,p as m,D as n,K as o,J as p,F as q,z as r,E as s,W as t,Y as u,X as v,Q as w,x,A as y,Z as z,tt as A,C as B,et as C,it as D,j as E,st as F,ot as G};
