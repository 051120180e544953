// A JavaScript interpreter, QuickJS, for CGI scripts: runs the file that its first argument names, as a module.
//
// A script has print(value...), read(), all of standard input, readFile(path), undefined when it cannot be read, and
// environ(), the variables NAME=value. It can import modules by their paths.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "quickjs.h"

extern char **environ;

// readAll reads a file to its end, followed by a zero byte that does not count. The caller frees it.
static char *readAll(FILE *file, size_t *size) {
	char *text = NULL;
	*size = 0;
	if (!file)
		return NULL;
	for (size_t room = 4096;; room *= 2) {
		text = realloc(text, room);
		if (!text)
			abort();
		*size += fread(text + *size, 1, room - 1 - *size, file);
		if (*size < room - 1)
			break;
	}
	if (ferror(file)) {
		free(text);
		return NULL;
	}
	text[*size] = 0;
	return text;
}

static char *readPath(const char *path, size_t *size) {
	FILE *file = fopen(path, "r");
	char *text = readAll(file, size);
	if (file)
		fclose(file);
	return text;
}

static JSValue take(JSContext *ctx, char *text, size_t size) {
	JSValue value = text ? JS_NewStringLen(ctx, text, size) : JS_UNDEFINED;
	free(text);
	return value;
}

static JSValue jsPrint(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
	for (int i = 0; i < argc; i++) {
		size_t size;
		const char *text = JS_ToCStringLen(ctx, &size, argv[i]);
		if (!text)
			return JS_EXCEPTION;
		if (i > 0)
			putchar(' ');
		fwrite(text, 1, size, stdout);
		JS_FreeCString(ctx, text);
	}
	putchar('\n');
	return JS_UNDEFINED;
}

static JSValue jsRead(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
	size_t size;
	char *text = readAll(stdin, &size);
	return take(ctx, text, size);
}

static JSValue jsReadFile(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
	const char *path = JS_ToCString(ctx, argv[0]);
	if (!path)
		return JS_EXCEPTION;
	size_t size;
	char *text = readPath(path, &size);
	JS_FreeCString(ctx, path);
	return take(ctx, text, size);
}

static JSValue jsEnviron(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
	JSValue list = JS_NewArray(ctx);
	for (uint32_t i = 0; environ && environ[i]; i++)
		JS_SetPropertyUint32(ctx, list, i, JS_NewString(ctx, environ[i]));
	return list;
}

static JSModuleDef *loadModule(JSContext *ctx, const char *name, void *opaque) {
	size_t size;
	char *text = readPath(name, &size);
	if (!text) {
		JS_ThrowReferenceError(ctx, "cannot read module %s", name);
		return NULL;
	}
	JSValue module = JS_Eval(ctx, text, size, name, JS_EVAL_TYPE_MODULE | JS_EVAL_FLAG_COMPILE_ONLY);
	free(text);
	if (JS_IsException(module))
		return NULL;
	JSModuleDef *def = JS_VALUE_GET_PTR(module);
	JS_FreeValue(ctx, module); // the context keeps it
	return def;
}

// fail prints what was thrown and ends the program.
static void fail(JSContext *ctx, JSValue thrown) {
	const char *text = JS_ToCString(ctx, thrown);
	JSValue stack = JS_IsError(ctx, thrown) ? JS_GetPropertyStr(ctx, thrown, "stack") : JS_UNDEFINED;
	const char *trace = JS_IsUndefined(stack) ? "" : JS_ToCString(ctx, stack);
	fprintf(stderr, "%s\n%s", text, trace);
	exit(1);
}

static void run(JSContext *ctx, const char *path) {
	size_t size;
	char *text = readPath(path, &size);
	if (!text) {
		fprintf(stderr, "cannot read script %s\n", path);
		exit(1);
	}
	JSValue promise = JS_Eval(ctx, text, size, path, JS_EVAL_TYPE_MODULE);
	if (JS_IsException(promise))
		fail(ctx, JS_GetException(ctx));
	JSContext *job;
	int ran;
	while ((ran = JS_ExecutePendingJob(JS_GetRuntime(ctx), &job)) > 0)
		;
	if (ran < 0)
		fail(job, JS_GetException(job));
	if (JS_PromiseState(ctx, promise) == JS_PROMISE_REJECTED)
		fail(ctx, JS_PromiseResult(ctx, promise));
}

int main(int argc, char **argv) {
	if (argc < 2) {
		fprintf(stderr, "usage: javascript SCRIPT\n");
		return 2;
	}
	JSRuntime *runtime = JS_NewRuntime();
	JSContext *ctx = JS_NewContext(runtime);
	JS_SetModuleLoaderFunc(runtime, NULL, loadModule, NULL);
	JSValue global = JS_GetGlobalObject(ctx);
	JS_SetPropertyStr(ctx, global, "print", JS_NewCFunction(ctx, jsPrint, "print", 1));
	JS_SetPropertyStr(ctx, global, "read", JS_NewCFunction(ctx, jsRead, "read", 0));
	JS_SetPropertyStr(ctx, global, "readFile", JS_NewCFunction(ctx, jsReadFile, "readFile", 1));
	JS_SetPropertyStr(ctx, global, "environ", JS_NewCFunction(ctx, jsEnviron, "environ", 0));
	run(ctx, argv[1]);
	return fflush(stdout) == 0 ? 0 : 1; // the process's end frees the rest
}
