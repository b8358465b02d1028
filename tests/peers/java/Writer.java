import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/**
 * Upserts rows without any broker, as a JDBC sink does it: Writer URL CONNECTIONS BATCH FILE.
 *
 * Rows are read into memory and divided by the hash of their key, so that those of a key stay in their order. A batch is
 * one transaction; of rows with the same key in it only the last is sent. With a batch of 1 every row is a transaction.
 *
 * A line of FILE is bucket, key, store, version id, size, etag, content type, metadata and the order of events in two
 * numbers, with tabs between; of an object that was removed it is the first four. For each name of a table on the standard input all rows are written into it, and
 * `done` is said. It ends with the standard input.
 */
final class Writer {
    private static final int COLUMNS = 10;
    private static final Set<Integer> NUMBERS = Set.of(4, 8, 9);

    private final String url;
    private final int batch;
    private final List<List<String[]>> shares = new ArrayList<>();
    private final ExecutorService threads;

    private Writer(String url, int connections, int batch) {
        this.url = url;
        this.batch = batch;
        for (int at = 0; at < connections; at++) {
            shares.add(new ArrayList<>());
        }
        this.threads = Executors.newFixedThreadPool(connections);
    }

    public static void main(String[] arguments) throws Exception {
        var writer = new Writer(arguments[0], Integer.parseInt(arguments[1]), Integer.parseInt(arguments[2]));
        writer.read(Path.of(arguments[3]));
        say("ready");
        try (var tables = new BufferedReader(new InputStreamReader(System.in))) {
            for (String line = tables.readLine(); line != null; line = tables.readLine()) {
                writer.write(line);
                say("done");
            }
        } finally {
            writer.threads.shutdownNow();
        }
    }

    private static void say(String word) {
        System.out.println(word);
        System.out.flush();
    }

    private void read(Path file) throws IOException {
        try (BufferedReader lines = Files.newBufferedReader(file)) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                String[] row = line.split("\t", -1);
                shares.get(Math.floorMod(row[0].hashCode() * 31 + row[1].hashCode(), shares.size())).add(row);
            }
        }
    }

    private void write(String table) throws Exception {
        List<Future<Void>> running = new ArrayList<>();
        for (List<String[]> share : shares) {
            running.add(threads.submit((Callable<Void>) () -> {
                write(table, share);
                return null;
            }));
        }
        for (Future<Void> one : running) {
            one.get();
        }
    }

    private void write(String table, List<String[]> rows) throws SQLException {
        String upsert = "INSERT INTO " + table
                + " (bucket, key, store, version_id, size, etag, content_type, metadata, order_time, order_seq)"
                + " VALUES (?, ?, ?, ?, ?, ?, ?, ?::jsonb, ?, ?)"
                + " ON CONFLICT (bucket, key, store, version_id) DO UPDATE SET size = EXCLUDED.size,"
                + " etag = EXCLUDED.etag, content_type = EXCLUDED.content_type, metadata = EXCLUDED.metadata,"
                + " order_time = EXCLUDED.order_time, order_seq = EXCLUDED.order_seq";
        try (Connection connection = DriverManager.getConnection(url);
                PreparedStatement made = connection.prepareStatement(upsert);
                PreparedStatement removed =
                        connection.prepareStatement("DELETE FROM " + table
                                + " WHERE bucket = ? AND key = ? AND store = ? AND version_id = ?")) {
            connection.setAutoCommit(batch == 1);
            for (int from = 0; from < rows.size(); from += batch) {
                List<String[]> part = rows.subList(from, Math.min(from + batch, rows.size()));
                if (batch == 1) {
                    fill(part.get(0), made, removed).executeUpdate();
                    continue;
                }
                Map<String, String[]> last = new LinkedHashMap<>();
                for (String[] row : part) {
                    last.put(row[0] + "/" + row[1], row);
                }
                boolean some = false;
                for (String[] row : last.values()) {
                    fill(row, made, removed).addBatch();
                    some |= row.length < COLUMNS;
                }
                made.executeBatch();
                if (some) {
                    removed.executeBatch();
                }
                connection.commit();
            }
        }
    }

    /** Gives the statement that a row needs, with its values. */
    private static PreparedStatement fill(String[] row, PreparedStatement made, PreparedStatement removed)
            throws SQLException {
        PreparedStatement statement = row.length < COLUMNS ? removed : made;
        for (int at = 0; at < row.length; at++) {
            if (NUMBERS.contains(at)) {
                statement.setLong(at + 1, Long.parseLong(row[at]));
            } else {
                statement.setString(at + 1, row[at]);
            }
        }
        return statement;
    }
}
