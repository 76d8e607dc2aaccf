# The bytes that processes/columns.py writes and reads. Base R alone; loaded into an environment of its own, so that
# nothing that a model's script defines can change what these functions do.

read_int <- function(con) {
  n <- readBin(con, "integer", 1L, size = 4L, endian = "little")
  if (length(n) == 0L) quit(save = "no", status = 0L)  # the end of our input: whoever started us has ended
  n
}

read_raw <- function(con) {
  size <- read_int(con)
  data <- raw(0)
  while (length(data) < size) {
    more <- readBin(con, "raw", size - length(data))
    if (length(more) == 0L) quit(save = "no", status = 0L)
    data <- if (length(data)) c(data, more) else more
  }
  data
}

utf8 <- function(x) {
  Encoding(x) <- "UTF-8"
  x
}

read_text <- function(con) utf8(rawToChar(read_raw(con)))

read_texts <- function(con, n) {
  if (n == 0L) return(character(0))
  lengths <- readBin(con, "integer", n, size = 4L, endian = "little")
  missing <- lengths < 0L
  lengths[missing] <- 0L
  size <- sum(as.double(lengths))
  texts <- if (size > 0) readChar(readBin(con, "raw", size), lengths, useBytes = TRUE) else rep("", n)
  texts <- utf8(texts)
  texts[missing] <- NA_character_
  texts
}

read_column <- function(con) {
  kind <- read_int(con)
  name <- read_text(con)
  n <- read_int(con)
  doubles <- function() readBin(con, "double", n, size = 8L, endian = "little")
  integers <- function() readBin(con, "integer", n, size = 4L, endian = "little")
  value <- switch(kind,
    doubles(),
    as.logical(integers()),
    {
      codes <- integers()
      structure(codes, levels = read_texts(con, read_int(con)), class = "factor")
    },
    read_texts(con, n),
    structure(doubles(), class = c("POSIXct", "POSIXt"), tzone = "UTC"),
    structure(doubles(), class = "Date")
  )
  list(name = name, value = value)
}

read_frame <- function(con) {
  rows <- read_int(con)
  columns <- lapply(seq_len(read_int(con)), function(i) read_column(con))
  frame <- lapply(columns, `[[`, "value")
  names(frame) <- vapply(columns, `[[`, "", "name")
  structure(frame, class = "data.frame", row.names = .set_row_names(rows))
}

int_bytes <- function(n) writeBin(as.integer(n), raw(), size = 4L, endian = "little")

texts_bytes <- function(texts) {
  texts <- enc2utf8(as.character(texts))
  lengths <- nchar(texts, type = "bytes")
  lengths[is.na(texts)] <- -1L
  joined <- paste(texts[!is.na(texts)], collapse = "")
  c(int_bytes(length(texts)), int_bytes(lengths), charToRaw(joined))
}

double_bytes <- function(x) writeBin(as.double(x), raw(), size = 8L, endian = "little")

send <- function(con, status, body) {
  writeBin(c(int_bytes(length(body) + 1L), as.raw(status), body), con)
  flush(con)
}

# What a script's or model's error says, with the call that raised it.
told <- function(error) {
  call <- conditionCall(error)
  where <- if (is.null(call)) "" else paste0(" (in ", deparse(call, nlines = 1L)[1L], ")")
  charToRaw(enc2utf8(paste0(conditionMessage(error), where)))
}

# The script's definitions go into the global environment, where R looks for methods of predict.
run_script <- function(data) {
  text <- if (length(data)) utf8(rawToChar(data)) else ""
  eval(parse(text = text, keep.source = FALSE, encoding = "UTF-8"), globalenv())
}

packages <- function() {
  session <- utils::sessionInfo()
  loaded <- c(session$otherPkgs, session$loadedOnly)
  versions <- vapply(loaded, function(package) package$Version, "")
  ours <- vapply(loaded, function(package) identical(package$Priority, "base"), NA)
  c(paste("R", getRversion()), sort(paste(names(versions), versions)[!ours], method = "radix"))
}
